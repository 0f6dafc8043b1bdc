// What a user of @kubernetes/client-node does with a cluster; prints the answers as one line of JSON.
import * as k8s from '@kubernetes/client-node';

const kc = new k8s.KubeConfig();
kc.loadFromDefault();
const core = kc.makeApiClient(k8s.CoreV1Api);
const custom = kc.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(kc);
const watch = new k8s.Watch(kc);
const ns = 'js';
const group = 'js.example.com';
const results = [];

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const typed = (type) => k8s.setHeaderOptions('Content-Type', type);

function parsed(body) {
    try {
        return typeof body === 'string' ? JSON.parse(body) : body;
    } catch {
        return body;
    }
}

/** Notes what a call answers, or all that its exception says; the answer. */
async function note(what, call) {
    let answer;
    try {
        answer = await call();
    } catch (raised) {
        if (!(raised instanceof k8s.ApiException)) throw raised;
        answer = { code: raised.code, type: raised.headers['content-type'], body: parsed(raised.body) };
    }
    results.push([what, JSON.parse(JSON.stringify(answer))]);
    return answer;
}

async function until(what, call) {
    const end = Date.now() + 30000;
    while (Date.now() < end) {
        const answer = await call();
        if (answer) return answer;
        await pause(50);
    }
    throw new Error(`${what}: still nothing after 30 s`);
}

const configMap = (name, data, labels) => ({ metadata: { name, labels }, data });
const create = (body, options) => core.createNamespacedConfigMap({ namespace: ns, body, ...options });
const patch = (name, body, type, options) =>
    core.patchNamespacedConfigMap({ name, namespace: ns, body, ...options }, typed(type));

async function nativeObjects() {
    const { Json, Merge, Strategic, Apply } = {
        Json: k8s.PatchStrategy.JsonPatch,
        Merge: k8s.PatchStrategy.MergePatch,
        Strategic: k8s.PatchStrategy.StrategicMergePatch,
        Apply: k8s.PatchStrategy.ServerSideApply,
    };
    await note('create', () => create(configMap('a', { k: 'v' })));
    await note('again', () => create(configMap('a')));
    await note('generated', async () => (await create({ metadata: { generateName: 'g-' } })).metadata.name.length);
    await note('wrong', () => create({ metadata: { name: 'b' }, data: { k: 5 } }));
    await note('unknown field', () => create({ ...configMap('b'), datas: {} }, { fieldValidation: 'Strict' }));
    await note('dry run', () => create(configMap('dry'), { dryRun: 'All' }));
    await note('missing', () => core.readNamespacedConfigMap({ name: 'dry', namespace: ns }));
    await note('merge', () => patch('a', { data: { m: '1' } }, Merge));
    await note('strategic', () => patch('a', { data: { m: null, s: '1' } }, Strategic));
    await note('json', () => patch('a', [{ op: 'replace', path: '/data/s', value: '2' }], Json));
    await note('json fails', () => patch('a', [{ op: 'remove', path: '/data/none' }], Json));
    const applied = (data) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data });
    await note('apply', () => patch('applied', applied({ k: 'v' }), Apply, { fieldManager: 'one' }));
    await note('conflict', () => patch('applied', applied({ k: 'w' }), Apply, { fieldManager: 'two' }));
    await note('force', () => patch('applied', applied({ k: 'w' }), Apply, { fieldManager: 'two', force: true }));
    const old = await core.readNamespacedConfigMap({ name: 'a', namespace: ns });
    await patch('a', { data: { z: '1' } }, Merge);
    await note('stale', () => core.replaceNamespacedConfigMap({ name: 'a', namespace: ns, body: old }));
    const held = { metadata: { name: 'held', finalizers: ['example.com/hold'] } };
    await create(held);
    await note('held', () => core.deleteNamespacedConfigMap({ name: 'held', namespace: ns }));
    await note('let go', () => patch('held', { metadata: { finalizers: null } }, Merge));
    await note('gone', () => core.readNamespacedConfigMap({ name: 'held', namespace: ns }));
    for (let number = 0; number < 5; number++) await create(configMap(`p-${number}`, {}, { page: 'yes' }));
    for (const selector of [undefined, 'page=yes']) {
        let token;
        do {
            const asked = { namespace: ns, limit: 2, labelSelector: selector, _continue: token };
            const page = await core.listNamespacedConfigMap(asked);
            token = page.metadata._continue;
            const names = page.items.map((item) => item.metadata.name.replace(/^g-.*/, 'g-'));
            results.push(['page', names, page.metadata.remainingItemCount ?? null, Boolean(token)]);
        } while (token);
    }
    await note('bad continue', () => core.listNamespacedConfigMap({ namespace: ns, _continue: 'x' }));
    await note('bad field', () => core.listNamespacedConfigMap({ namespace: ns, fieldSelector: 'data.k=v' }));
    await note('field', async () => {
        const fieldSelector = `metadata.name=a,metadata.namespace=${ns}`;
        return (await core.listConfigMapForAllNamespaces({ fieldSelector })).items;
    });
    await note('collection', () => core.deleteCollectionNamespacedConfigMap({ namespace: ns, labelSelector: 'page' }));
}

async function customObjects() {
    const spec = { type: 'object', properties: { size: { type: 'integer', maximum: 9 } } };
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec, status: spec } } };
    const scale = { specReplicasPath: '.spec.size', statusReplicasPath: '.status.size' };
    const version = { name: 'v1', served: true, storage: true, schema, subresources: { status: {}, scale } };
    const names = { plural: 'tools', kind: 'Tool' };
    const definition = {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: `tools.${group}` },
        spec: { group, scope: 'Namespaced', names, versions: [version] },
    };
    await note('definition', async () => (await objects.create(definition)).spec);
    const tool = (name, size) => ({
        apiVersion: `${group}/v1`,
        kind: 'Tool',
        metadata: { name, namespace: ns },
        spec: { size },
    });
    let made;
    await until('first tool', async () => {
        try {
            // Its own copy of discovery is asked for a kind only until it knows it.
            made = await k8s.KubernetesObjectApi.makeApiClient(kc).create(tool('saw', 1));
            return true;
        } catch (raised) {
            if (raised.code !== 404 && !`${raised.message}`.includes('Unrecognized API')) throw raised;
        }
    });
    results.push(['tool', made]);
    await note('invalid', () => objects.create(tool('axe', 10)));
    await note('merge', () => objects.patch(tool('saw', 4), undefined, undefined, undefined, undefined, k8s.PatchStrategy.MergePatch));
    await note('apply', () => objects.patch(tool('axe', 2), undefined, undefined, 'js', true, k8s.PatchStrategy.ServerSideApply));
    await note('read', () => objects.read(tool('saw')));
    await note('list', () => objects.list(`${group}/v1`, 'Tool', ns));
    const saw = { group, version: 'v1', namespace: ns, plural: 'tools', name: 'saw' };
    const status = { status: { size: 3 } };
    await note('status', () => custom.patchNamespacedCustomObjectStatus({ ...saw, body: status }, typed('application/merge-patch+json')));
    await note('scale', () => custom.getNamespacedCustomObjectScale(saw));
    const body = { spec: { replicas: 6 } };
    await note('rescale', () => custom.patchNamespacedCustomObjectScale({ ...saw, body }, typed('application/merge-patch+json')));
    await note('other version', () => custom.listNamespacedCustomObject({ ...saw, version: 'v2' }));
    const path = `/apis/${group}/v1/namespaces/${ns}/tools`;
    results.push(['too old', (await watched(path, { resourceVersion: '1' })).map(([type, , code]) => [type, code])]);
    await note('delete', () => objects.delete(tool('saw')));
}

/** Events until the server ends the watch after a second. */
function watched(path, options) {
    return new Promise((done, failed) => {
        const seen = [];
        watch
            .watch(
                path,
                { timeoutSeconds: 1, ...options },
                (type, object) => seen.push([type, object.metadata?.name ?? null, object.code ?? null]),
                (error) => (error && error.message !== 'Premature close' ? failed(error) : done(seen)),
            )
            .catch(failed);
    });
}

async function watches() {
    const path = `/api/v1/namespaces/${ns}/configmaps`;
    const first = await create(configMap('w-a', {}, { seen: 'yes' }));
    const second = await create(configMap('w-b', {}, { seen: 'yes' }));
    await patch('w-a', { data: { k: 'v' } }, k8s.PatchStrategy.MergePatch);
    await patch('w-b', { metadata: { labels: { seen: 'no' } } }, k8s.PatchStrategy.MergePatch);
    const selected = { labelSelector: 'seen=yes' };
    const initial = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', allowWatchBookmarks: true };
    const asked = [
        selected,
        { ...selected, resourceVersion: first.metadata.resourceVersion },
        { ...selected, resourceVersion: second.metadata.resourceVersion },
        { ...selected, ...initial },
    ];
    results.push(['watches', await Promise.all(asked.map((options) => watched(path, options)))]);
    const everywhere = { fieldSelector: 'metadata.name=w-a,metadata.namespace=js' };
    results.push(['everywhere', await watched('/api/v1/configmaps', everywhere)]);
}

async function informers() {
    const list = () => core.listNamespacedConfigMap({ namespace: ns, labelSelector: 'writer' });
    const all = () => core.listConfigMapForAllNamespaces({ labelSelector: 'writer' });
    const path = `/api/v1/namespaces/${ns}/configmaps`;
    const informers = [
        k8s.makeInformer(kc, path, list, 'writer'),
        k8s.makeInformer(kc, '/api/v1/configmaps', all, 'writer'),
    ];
    const told = informers.map(() => new Map());
    informers.forEach((informer, index) => {
        for (const event of ['add', 'update'])
            informer.on(event, ({ metadata }) => told[index].set(metadata.name, metadata.resourceVersion));
        informer.on('delete', ({ metadata }) => told[index].delete(metadata.name));
    });
    const write = async (writer) => {
        for (let number = 0; number < 10; number++) {
            const name = `w${writer}-${number}`;
            await create(configMap(name, { round: '0' }, { writer: `${writer}` }));
            for (let round = 1; round <= number % 3; round++)
                await patch(name, { data: { round: `${round}` } }, k8s.PatchStrategy.MergePatch);
            if (number % 4 === 3) await core.deleteNamespacedConfigMap({ name, namespace: ns });
        }
    };
    const writing = Promise.all([0, 1, 2].map(write));
    for (const informer of informers) await informer.start();
    await writing;
    const left = (await list()).items;
    const versions = (map) => JSON.stringify([...map].sort());
    const wanted = versions(left.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
    const cached = (informer) => versions(informer.list().map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
    await until('informers', () => informers.every((i) => cached(i) === wanted) && told.every((m) => versions(m) === wanted));
    for (const informer of informers) await informer.stop();
    results.push(['informers', left.map(({ metadata, data }) => [metadata.name, data.round]).sort()]);
}

async function rights() {
    const accounts = { name: 'robot', namespace: ns };
    await core.createNamespacedServiceAccount({ namespace: ns, body: { metadata: { name: 'robot' } } });
    const rbac = kc.makeApiClient(k8s.RbacAuthorizationV1Api);
    const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }];
    await note('role', () => rbac.createNamespacedRole({ namespace: ns, body: { metadata: { name: 'r' }, rules } }));
    const subjects = [{ kind: 'ServiceAccount', ...accounts }];
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' };
    const binding = { metadata: { name: 'r' }, subjects, roleRef };
    await note('binding', () => rbac.createNamespacedRoleBinding({ namespace: ns, body: binding }));
    const request = { spec: { audiences: [], expirationSeconds: 600 } };
    const { status } = await core.createNamespacedServiceAccountToken({ ...accounts, body: request });
    const robot = new k8s.KubeConfig();
    robot.loadFromClusterAndUser(kc.getCurrentCluster(), { name: 'robot', token: status.token });
    const its = robot.makeApiClient(k8s.CoreV1Api);
    await note('robot reads', () => its.readNamespacedConfigMap({ name: 'a', namespace: ns }));
    await note('robot lists', () => its.listNamespacedConfigMap({ namespace: ns }));
    await note('robot may', async () => {
        const body = { spec: { resourceAttributes: { namespace: ns, verb: 'get', resource: 'configmaps' } } };
        const api = robot.makeApiClient(k8s.AuthorizationV1Api);
        return (await api.createSelfSubjectAccessReview({ body })).status;
    });
    await note('robot is', async () => {
        const api = robot.makeApiClient(k8s.AuthenticationV1Api);
        return (await api.createSelfSubjectReview({ body: {} })).status.userInfo.username;
    });
}

async function rest() {
    const yaml = `
apiVersion: v1
kind: Secret
metadata: {name: from-yaml, namespace: js}
stringData: {a: b}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: from-yaml, namespace: js}
spec: {holderIdentity: me, renewTime: "2026-01-02T03:04:05.000006Z"}
`;
    for (const document of k8s.loadAllYaml(yaml)) await note('yaml', () => objects.create(document));
    await note('version', () => kc.makeApiClient(k8s.VersionApi).getCode());
    const involvedObject = { kind: 'ConfigMap', name: 'a', namespace: ns };
    const event = { metadata: { name: 'a.1' }, involvedObject, reason: 'Seen', message: 'seen', type: 'Normal' };
    await note('event', () => core.createNamespacedEvent({ namespace: ns, body: event }));
    await note('events', async () => {
        const fieldSelector = 'involvedObject.name=a,reason=Seen';
        return (await core.listNamespacedEvent({ namespace: ns, fieldSelector })).items;
    });
}

await note('namespace', () => core.createNamespace({ body: { metadata: { name: ns } } }));
await until('account', async () => (await core.listNamespacedServiceAccount({ namespace: ns })).items.length > 0);
for (const part of [nativeObjects, customObjects, watches, informers, rights, rest]) await part();
console.log(JSON.stringify(results));
