"""Expressions of which kube-apiserver and this library must think the same, over `OBJECT`."""

from __future__ import annotations

from typing import Any

OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "any",
        "namespace": "default",
        "labels": {"app": "web", "tier": "front-end"},
        "annotations": {"note": "Grüße, 世界", "time": "2024-02-29T12:34:56.789Z", "json": '{"a": [1, 2]}'},
        "finalizers": ["example.com/one", "example.com/two"],
    },
    "data": {"replicas": "3", "size": "1.5Gi", "url": "https://user@example.com:8443/a/b?x=1&x=2&y=%20z#top"},
    "binaryData": {"bytes": "aGVsbG8="},
    "immutable": False,
}

VALUES = r"""
1 + 2
7 / 2
-7 / 2
-7 % 3
7 % -3
2 * 3 - 4
1.5 + 2.25
1.0 / 3.0
1e100
1e21
1e20
123456789.0
0.0001
0.00001
-0.0
1.0 / 0.0
5u + 2u
7u / 2u
int(3.99)
int(-3.99)
int('42')
uint(7)
double(3)
double('1.25e3')
string(1)
string(1.5)
string(1e7)
string(1e30)
string(true)
string(b'abc')
bytes('é')
bool('true')
bool('T')
type(1)
type(1u)
type('a')
type(null)
type([1])
type({'a': 1})
type(1.5)
type(b'a')
type(timestamp('2024-01-01T00:00:00Z'))
type(duration('1s'))
type(type(1))
type(1) == int
type(object)
dyn(1) == 1.0
dyn(1u) == 1
1 < 1.5
2u > 1
dyn(1) == dyn('1')
dyn(1) != dyn('1')
dyn([1, 2]) == dyn([1.0, 2.0])
dyn({'a': 1}) == dyn({'a': 1.0})
null == null
dyn(null) == dyn(1)
'a' < 'b'
'Z' < 'a'
'é' > 'z'
b'a' < b'b'
true > false
timestamp('2024-01-01T00:00:00Z') < timestamp('2024-01-02T00:00:00Z')
duration('1m') > duration('59s')
1 in [1, 2, 3]
4 in [1, 2, 3]
1.0 in dyn([1, 2])
'a' in {'a': 1}
'b' in {'a': 1}
size('Grüße')
size(b'Gr\xc3\xbc')
size([1, 2])
size({'a': 1})
'abc'.size()
'a' + 'b'
[1] + [2, 3]
b'a' + b'b'
true && false || true
!true
true ? 1 : 2
[1, 2, 3].all(x, x > 0)
[1, 2, 3].exists(x, x > 2)
[1, 2, 3].exists_one(x, x > 2)
[1, 2, 3].map(x, x * 2)
[1, 2, 3].map(x, x > 1, x * 2)
[1, 2, 3].filter(x, x % 2 == 1)
[1, 2, 3].exists(x, x / 0 == 1 || x == 3)
[1, 0, 2].exists(x, 2 / x == 1)
[0, 2].all(x, 4 / x < 1)
[[1, 2], [3]].map(x, x.size())
[1, 2].map(x, [3, 4].map(y, x * y))
[].map(x, x)
[1, 2, 3].all(i, v, i < v)
[1, 2, 3].exists(i, v, i == 2 && v == 3)
[1, 2, 2].existsOne(i, v, v == 2)
[1, 2, 3].transformList(i, v, i * v)
[1, 2, 3].transformList(i, v, i > 0, i * v)
{'a': 1, 'b': 2}.transformMap(k, v, v * 2)
{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2)
{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, {v: k})
{'a': 1}.all(k, k == 'a')
{'a': 1}.all(k, v, k == 'a' && v == 1)
{'a': 1}.map(k, k + '!')
{'a': 1}['a']
{'a': {'b': 2}}.a.b
{1: 'x'}[1]
{1: 'x'}[dyn(1u)]
{true: 'x'}[true]
[1, 2, 3][1]
[1, 2, 3][dyn(1.0)]
[1, 2, 3][?5].orValue(9)
[1, 2, 3][?1]
{'a': 1}[?'b']
{'a': 1}.?a
{'a': 1}.?b.orValue(2)
{'a': {'b': 1}}.?a.b
{'a': {'b': 1}}.?a.?c
{'a': {'b': 1}}.?x.y.hasValue()
optional.of(1).value()
optional.none().hasValue()
optional.ofNonZeroValue(0)
optional.ofNonZeroValue('x')
optional.ofNonZeroValue([])
optional.of(1).or(optional.of(2))
optional.none().or(optional.of(2))
optional.of(2).optMap(x, x + 1)
optional.none().optMap(x, x + 1)
optional.of(2).optFlatMap(x, optional.of(x + 1))
[?optional.of(1), ?optional.none(), 2]
{?'a': optional.of(1), ?'b': optional.none()}
optional.of(1) == optional.of(1)
optional.of(1) == optional.none()
has({'a': 1}.a)
has({'a': 1}.b)
has(object.data)
has(object.spec)
has(object.metadata.labels.app)
has(object.metadata.labels.other)
object.kind
object.apiVersion
object.metadata.name
object.metadata.namespace
object.metadata.labels
object.metadata.labels['app']
object.metadata.annotations.note
object.metadata.annotations.note.size()
object.metadata.finalizers
object.data.replicas
int(object.data.replicas) + 1
object.binaryData
object.immutable
object.?status.?phase.orValue('none')
object.metadata.?labels['app'].orValue('none')
object.metadata.labels.all(k, k.startsWith('a') || k.startsWith('t'))
object.metadata.finalizers.exists(f, f.endsWith('two'))
object.data.all(k, object.data[k] != '')
oldObject == null
request.operation
request.name
request.namespace
request.kind
request.resource
request.kind.kind
request.resource.resource
request.requestKind
request.requestResource
request.dryRun
request.userInfo.username
'system:masters' in request.userInfo.groups
has(request.subResource)
request.?subResource.orValue('none')
has(request.options)
request.options.kind
namespaceObject.metadata.name
namespaceObject.status.phase
namespaceObject.spec.finalizers
namespaceObject.metadata.labels
has(namespaceObject.metadata.annotations)
variables.three
variables.three + variables.three
variables.items.map(x, x + variables.three)
authorizer.requestResource.check('create').allowed()
authorizer.group('').resource('pods').namespace('default').name('x').check('get').allowed()
authorizer.group('apps').resource('deployments').subresource('scale').check('update').allowed()
authorizer.path('/healthz').check('get').allowed()
authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').check('get').allowed()
authorizer.group('').resource('pods').check('get').errored()
'abc'.contains('b')
'abc'.startsWith('ab')
'abc'.endsWith('bc')
'abc'.matches('^a.c$')
'abc'.matches('b')
'Grüße'.charAt(2)
'abc'.charAt(3)
'abcabc'.indexOf('c')
'abcabc'.indexOf('c', 3)
'abcabc'.indexOf('')
'abcabc'.indexOf('z')
'abcabc'.lastIndexOf('b')
'abcabc'.lastIndexOf('b', 3)
'abcabc'.lastIndexOf('')
'GrÜße'.lowerAscii()
'grüße'.upperAscii()
'aXbXc'.replace('X', '-')
'aXbXc'.replace('X', '-', 1)
'abc'.replace('', '.')
'a,b,c'.split(',')
'a,b,c'.split(',', 2)
'a,b,c'.split(',', 0)
'a,b,c'.split(',', 1)
'abc'.split('')
'Grüße'.substring(2)
'Grüße'.substring(1, 3)
'  x\t\n'.trim()
['a', 'b'].join()
['a', 'b'].join('-')
strings.quote('a"b\n\\')
'%s and %s'.format(['a', 1])
'%d %d'.format([1, 2u])
'%s'.format([1.5])
'%s'.format([[1, 'a', 1.5, true, null]])
'%s'.format([{'a': 1, 'b': ['x']}])
'%s'.format([timestamp('2024-01-01T00:00:00Z')])
'%s'.format([duration('90s')])
'%s'.format([[duration('90s'), timestamp('2024-01-01T00:00:00.5Z')]])
'%s'.format([b'abc'])
'%s'.format([null])
'%s'.format([int])
'%.2f'.format([3.14159])
'%f'.format([2.5])
'%.3e'.format([1234.5678])
'%e'.format([0.00012])
'%b'.format([5])
'%b'.format([-5])
'%b'.format([true])
'%x'.format([255])
'%X'.format([255])
'%x'.format(['hello'])
'%X'.format([b'\xab'])
'%o'.format([8])
'100%% of %s'.format(['x'])
'foo bar baz'.find('b[a-z]+')
'foo'.find('z')
'123 abc 456'.findAll('[0-9]+')
'123 abc 456'.findAll('[0-9]+', 1)
'123 abc 456'.findAll('[0-9]+', 0)
'aaa'.findAll('a*')
'abc'.findAll('')
'baab'.findAll('a*')
[1, 2, 3].isSorted()
[3, 1].isSorted()
['a', 'b'].isSorted()
[1, 2, 3].sum()
[1.5, 2.5].sum()
[duration('1m'), duration('1s')].sum()
[3, 1, 2].max()
[3, 1, 2].min()
['b', 'a'].min()
[1, 2, 1].indexOf(1)
[1, 2, 1].lastIndexOf(1)
[1, 2].indexOf(9)
[1, 2, 3, 4].slice(1, 3)
[[1, 2], [3]].flatten()
[dyn(1), dyn([dyn(2), dyn([3])])].flatten(2)
[3, 1, 2].sort()
['b', 'a'].sort()
[{'n': 2}, {'n': 1}].sortBy(x, x.n)
[1, 2, 2, 1].distinct()
[1, 2, 3].reverse()
lists.range(4)
sets.contains([1, 2, 3], [2, 3])
sets.contains([1], [2])
sets.intersects([1, 2], [2, 3])
sets.equivalent([1, 1, 2], [2, 1])
quantity('1.5Gi').isGreaterThan(quantity('1Gi'))
quantity(object.data.size).isLessThan(quantity('2Gi'))
quantity('1000m').compareTo(quantity('1'))
quantity('100m').asApproximateFloat()
quantity('2Ki').asInteger()
quantity('1.5').isInteger()
quantity('50k').isInteger()
sign(quantity('-1'))
quantity('1').add(quantity('500m')).asApproximateFloat()
quantity('1').add(2).asInteger()
quantity('5').sub(2).asInteger()
quantity('5').sub(quantity('2')) == quantity('3')
quantity('1e3').asInteger()
quantity('1E').asInteger()
isQuantity('1.3Mi')
isQuantity('20 Mi')
isQuantity('')
isQuantity('1e')
isQuantity('.5')
isQuantity('5.')
isQuantity('+5')
isQuantity('1ki')
url('https://user@example.com:8443/a/b?x=1&x=2').getScheme()
url(object.data.url).getHost()
url(object.data.url).getHostname()
url(object.data.url).getPort()
url(object.data.url).getEscapedPath()
url(object.data.url).getQuery()
url('/path/x y').getEscapedPath()
url('https://[::1]:80/').getHost()
url('https://[::1]:80/').getHostname()
url('https://example.com').getPort()
isURL('https://example.com')
isURL('../relative')
isURL('/absolute')
isURL('')
isURL('https://a:port/')
isURL('https://a/%zz')
ip('127.0.0.1').family()
ip('::1').family()
ip('10.0.0.1').isGlobalUnicast()
ip('127.0.0.1').isLoopback()
ip('0.0.0.0').isUnspecified()
ip('224.0.0.1').isLinkLocalMulticast()
ip('fe80::1').isLinkLocalUnicast()
ip('ff02::1').isLinkLocalMulticast()
ip('255.255.255.255').isGlobalUnicast()
string(ip('2001:db8:0:0::1'))
ip('1.2.3.4') == ip('1.2.3.4')
isIP('1.2.3')
isIP('01.2.3.4')
isIP('fe80::1%eth0')
isIP('::ffff:1.2.3.4')
ip.isCanonical('2001:db8::1')
ip.isCanonical('2001:DB8::1')
cidr('10.0.0.0/8').containsIP('10.1.2.3')
cidr('10.0.0.0/8').containsIP(ip('11.1.2.3'))
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')
cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))
cidr('10.0.0.0/8').prefixLength()
string(cidr('10.1.2.3/8').masked())
string(cidr('10.1.2.3/8').ip())
string(cidr('10.1.2.3/8'))
cidr('::/0').containsIP('1.2.3.4')
isCIDR('10.0.0.0/33')
isCIDR('10.0.0.0/08')
isCIDR('::1/64')
semver('1.2.3').major()
semver('1.2.3').minor()
semver('1.2.3').patch()
semver('1.2.3-alpha').isLessThan(semver('1.2.3'))
semver('1.2.3-alpha.1').compareTo(semver('1.2.3-alpha.beta'))
semver('1.10.0').isGreaterThan(semver('1.9.0'))
semver('1.2.3+a') == semver('1.2.3+b')
semver('v1.2', true) == semver('1.2.0')
semver('01.2.3', true).major()
isSemver('1.2')
isSemver('v1.2.3')
isSemver('v1', true)
isSemver('1.2.3-01')
format.named('dns1123Label').hasValue()
format.named('nothing').hasValue()
format.dns1123Label().validate('my-name')
format.dns1123Label().validate('My_Name').value()
format.dns1123Label().validate('a.b').value()
format.dns1123Subdomain().validate('A').value()
format.dns1035Label().validate('1a').value()
format.dns1123LabelPrefix().validate('abc-')
format.qualifiedName().validate('example.com/Name')
format.qualifiedName().validate('a/b/c').value()
format.qualifiedName().validate('/x').value()
format.labelValue().validate('-').value()
format.labelValue().validate('')
format.uri().validate('/x')
format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')
format.uuid().validate('x').value()
format.byte().validate('aGk=')
format.byte().validate('!').value()
format.date().validate('2024-02-29')
format.date().validate('2023-02-29').value()
format.datetime().validate('2024-02-29T12:00:00Z')
format.datetime().validate('2024-02-29').value()
timestamp('2024-02-29T12:34:56.789Z').getFullYear()
timestamp('2024-02-29T12:34:56.789Z').getMonth()
timestamp('2024-02-29T12:34:56.789Z').getDate()
timestamp('2024-02-29T12:34:56.789Z').getDayOfMonth()
timestamp('2024-02-29T12:34:56.789Z').getDayOfYear()
timestamp('2024-03-03T12:34:56.789Z').getDayOfWeek()
timestamp('2024-02-29T12:34:56.789Z').getHours()
timestamp('2024-02-29T12:34:56.789Z').getMinutes()
timestamp('2024-02-29T12:34:56.789Z').getSeconds()
timestamp('2024-02-29T12:34:56.789Z').getMilliseconds()
timestamp('2024-02-29T12:34:56Z').getHours('+02:30')
timestamp('2024-02-29T12:34:56Z').getHours('-02:00')
timestamp('2024-07-01T12:00:00Z').getHours('America/New_York')
timestamp('2024-02-29T12:34:56+02:00')
timestamp('2024-02-29T12:34:56.123456789Z')
timestamp('2024-01-01T00:00:00Z') + duration('36h')
timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z')
timestamp('2024-01-02T00:00:00Z') - duration('1s')
timestamp(0)
int(timestamp('2024-01-01T00:00:00Z'))
string(timestamp('2024-01-01T00:00:00.500Z'))
duration('1h30m5.25s')
duration('-1.5s')
duration('90m').getHours()
duration('90m').getMinutes()
duration('1500ms').getSeconds()
duration('1500ms').getMilliseconds()
duration('1h') + duration('1m')
string(duration('1.0005s'))
int(duration('1s'))
'a' == "a"
r'\d' + '\u00e9'
'''multi''' + ''
""".strip().splitlines()

ERRORS = r"""
1 / int(object.data.replicas.replace('3', '0'))
1 % int(object.data.replicas.replace('3', '0'))
9223372036854775807 + int(object.data.replicas)
-9223372036854775808 - int(object.data.replicas)
9223372036854775807 * int(object.data.replicas)
1u - uint(object.data.replicas)
object.spec
object.spec.replicas
object.metadata.labels.missing
object.metadata.labels['missing']
object.metadata.finalizers[2]
object.metadata.finalizers[-1]
object.metadata.finalizers['x']
object.data.replicas.x
object.immutable.x
object.data.replicas + 1
object.data.replicas > 1
object.immutable && object.kind == ''
object.immutable || object.kind
object.kind || false
object.kind ? 1 : 2
!object.kind
-object.kind
object.metadata.all(x, x.y)
object.kind.all(x, true)
size(object.immutable)
object.immutable.startsWith('a')
int(object.metadata.name)
int('922337203685477580' + object.data.replicas + '8')
int(object.kind)
uint('-' + object.data.replicas)
uint(-1 - int(object.data.replicas))
int(1e30 * double(object.data.replicas))
double(object.apiVersion)
bool('yes' + object.kind)
string(b'\xff' + bytes(object.kind))
bool(object.kind)
timestamp(object.kind)
duration(object.kind)
'abc'.charAt(4)
'abc'.substring(4)
'abc'.substring(2, 1)
'abc'.indexOf('a', -1)
[dyn(1), dyn('a')].join()
[].max()
'a'.matches(object.metadata.annotations.json + '(')
'a'.find(object.kind + '(')
quantity(object.kind)
quantity('1.5').asInteger()
url(object.kind)
url('https://a:port/' + object.kind)
ip(object.kind)
ip('1.2.3.' + object.metadata.annotations.json)
ip('1.2.3.400')
ip('1.2.3')
ip('01.2.3.4')
ip('::ffff:1.2.3.4')
ip('fe80::1%eth0')
cidr(object.kind)
cidr('10.0.0.0/33')
cidr('10.0.0.0/x')
cidr('10.0.0/8')
semver(object.kind)
semver('1.2.x')
semver('01.2.3')
semver('1.2.3-')
semver('1-a', true)
optional.none().value()
[1, 2].slice(1, 5)
[1, 2].slice(2, 1)
[1, 2].slice(-1, 1)
[dyn(1), dyn('a')].sort()
[[1], [2]].flatten(-1)
'%d'.format([object.kind])
'%s %s'.format(object.metadata.finalizers + object.metadata.finalizers.map(f, f).slice(0, 0)).format([1])
authorizer.group('').resource('')
authorizer.path(' ')
authorizer.serviceAccount('Bad', 'name')
authorizer.serviceAccount('default', 'Bad_Name')
object.immutable.trim()
object.immutable.contains('a')
object.immutable.indexOf('a')
object.immutable.format([])
object.immutable.isSorted()
object.immutable.matches('a')
object.immutable * 2
ip(object.immutable)
quantity(object.immutable)
object.kind.max()
sets.contains(object.immutable, [1])
object.kind.getFullYear()
object.metadata.annotations.sort()
object.kind in object.kind
object.immutable.all(i, v, true)
'a'.matches('[' + object.kind)
'a'.matches('*' + object.kind)
'a'.matches('a{2,1}' + object.kind)
'a'.matches('(?=a)' + object.kind)
'a'.matches('\\q' + object.kind)
variables.broken
variables.broken || true
variables.alsoBroken
request.userInfo.extra.nothing
request.subResource
namespaceObject.metadata.annotations.x
quantity('1') == dyn('1')
ip('1.2.3.4') == dyn(1)
timestamp('2024-01-01T00:00:00Z').getHours('Nowhere/Land')
timestamp('9999-12-31T23:59:59Z') + duration('1h')
[1, 2, 3].map(x, 1 / (x - 2))
[1, 2].all(i, v, 1 / i > 5)
{'a': 1}.transformMapEntry(k, v, {'x': v, k: v}).all(k, 1 / 0 == 1)
lists.range(300).all(x, lists.range(300).all(y, lists.range(300).all(z, x + y + z >= 0)))
""".strip().splitlines()

VARIABLES = {
    "three": "3",
    "items": "[1, 2].map(x, x * variables.three)",
    "broken": "object.spec.broken",
    "alsoBroken": "variables.broken + 1",
}
