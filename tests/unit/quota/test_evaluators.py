"""What objects take of a quota; the numbers are those of Kubernetes' own evaluators."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from proxy.quota.evaluators import Need, Type, expires, facts, needs, numbered, used
from proxy.quota.scopes import Requirement, selects
from proxy.quota.status import changes

NOW = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.UTC)
PODS, SERVICES, VOLUMES = (Type("", plural) for plural in ("pods", "services", "persistentvolumeclaims"))
DEVICES = Type("resource.k8s.io", "resourceclaims")
Object = dict[str, Any]


def container(name: str = "c", requests: Object | None = None, limits: Object | None = None, **more: Any) -> Object:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value is not None}
    return {"name": name, "resources": resources, **more}


def pod(*containers: Object, init: tuple[Object, ...] = (), status: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "p", "uid": "1"},
        "spec": {"containers": list(containers) or [container()], "initContainers": list(init), **spec},
        "status": status or {},
    }


def taken(kind: Type, hard: str, *objects: Object, now: datetime.datetime = NOW, **spec: Any) -> Object:
    whole = {"hard": dict.fromkeys(hard.split(), "9"), **spec}
    (need,) = (need for need in needs(whole) if need.type == kind)
    return {key: str(amount) for key, amount in used(need, whole, objects, now).items()}


def test_which_types_a_quota_is_about() -> None:
    hard = {
        "pods", "requests.cpu", "requests.nvidia.com/gpu", "hugepages-2Mi", "services.nodeports", "requests.storage",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims", "gpu.deviceclass.resource.k8s.io/devices",
        "requests.deviceclass.resource.kubernetes.io/gpu", "configmaps", "count/configmaps",
        "count/widgets.example.com",
        "count/events", "count/events.events.k8s.io", "serviceaccounts", "kubernetes.io/x", "requests.kubernetes.io/x",
    }  # fmt: skip
    found = {need.type: (need.keys, need.whole) for need in needs({"hard": dict.fromkeys(hard, "1")})}
    wanted: dict[Type, tuple[set[str], bool]] = {
        PODS: (
            {"pods", "requests.cpu", "requests.nvidia.com/gpu", "hugepages-2Mi",
             "requests.deviceclass.resource.kubernetes.io/gpu"}, True,
        ),
        SERVICES: ({"services.nodeports"}, True),
        VOLUMES: ({"requests.storage", "gold.storageclass.storage.k8s.io/persistentvolumeclaims"}, True),
        DEVICES: ({"gpu.deviceclass.resource.k8s.io/devices"}, True),
        Type("", "configmaps"): ({"configmaps", "count/configmaps"}, False),
        Type("example.com", "widgets"): ({"count/widgets.example.com"}, False),
    }  # fmt: skip
    assert found == {kind: (frozenset(keys), whole) for kind, (keys, whole) in wanted.items()}


def test_where_the_number_says_all() -> None:
    plain = ("count/pods", "services", "count/services", "persistentvolumeclaims", "count/secrets")
    assert not any(need.whole for need in needs({"hard": dict.fromkeys(plain, "1")}))
    (need,) = needs({"hard": {"services": "1", "count/services": "2"}})
    assert {key: str(amount) for key, amount in numbered(need, 1000).items()} == {
        "services": "1k", "count/services": "1k",
    }  # fmt: skip
    assert needs({"hard": {"pods": "1"}})[0].whole  # those that have ended do not count
    assert needs({"hard": {"count/pods": "1"}, "scopes": ["BestEffort"]})[0].whole


def test_nothing_of_others_is_in_a_scope() -> None:
    spec = {"hard": {"secrets": "1"}, "scopes": ["BestEffort"]}
    (need,) = needs(spec)
    assert need == Need(Type("", "secrets"), frozenset({"secrets"}), True)
    assert str(used(need, spec, [], NOW)["secrets"]) == "0"


def test_containers_are_added() -> None:
    one = container("a", {"cpu": "300m", "memory": "1Gi"}, {"cpu": "1", "ephemeral-storage": "1Gi"})
    two = container("b", {"cpu": "700m", "example.com/x": "2"}, {"memory": "2Gi"})
    keys = (
        "pods count/pods cpu requests.cpu limits.cpu memory requests.memory limits.memory "
        "ephemeral-storage limits.ephemeral-storage requests.example.com/x requests.example.com/y"
    )
    assert taken(PODS, keys, pod(one, two), pod()) == {
        "pods": "2", "count/pods": "2", "cpu": "1", "requests.cpu": "1", "limits.cpu": "1", "memory": "1Gi",
        "requests.memory": "1Gi", "limits.memory": "2Gi", "ephemeral-storage": "0", "limits.ephemeral-storage": "1Gi",
        "requests.example.com/x": "2", "requests.example.com/y": "0",
    }  # fmt: skip


def test_huge_pages_and_device_classes() -> None:
    one = container("a", {"hugepages-2Mi": "4Mi", "deviceclass.resource.kubernetes.io/gpu": "1"})
    keys = "hugepages-2Mi requests.hugepages-2Mi requests.deviceclass.resource.kubernetes.io/gpu"
    assert list(taken(PODS, keys, pod(one)).values()).count("4Mi") == 2
    assert taken(PODS, keys, pod(one))["requests.deviceclass.resource.kubernetes.io/gpu"] == "1"


@pytest.mark.parametrize(
    ("init", "cpu"),
    [
        ([("1", False)], "2"),
        ([("3", False)], "3"),
        ([("1", True)], "3"),
        ([("1", True), ("1500m", False)], "3"),
        ([("1", True), ("4", False)], "5"),
        ([("4", False), ("1", True)], "4"),
        ([("1", True), ("2", True), ("3", False)], "6"),
    ],
)
def test_init_containers(init: list[tuple[str, bool]], cpu: str) -> None:
    """Beside two CPUs. The second of a pair: whether it stays."""
    made = tuple(
        container(f"i-{at}", {"cpu": amount}) | ({"restartPolicy": "Always"} if stays else {})
        for at, (amount, stays) in enumerate(init)
    )
    assert taken(PODS, "cpu", pod(container("c", {"cpu": "2"}), init=made))["cpu"] == cpu


def test_resources_of_the_pod() -> None:
    one = pod(
        container("c", {"cpu": "1", "example.com/x": "1"}), resources={"requests": {"cpu": "5"}, "limits": {"cpu": "6"}}
    )
    assert taken(PODS, "cpu limits.cpu requests.example.com/x", one) == {
        "cpu": "5", "limits.cpu": "6", "requests.example.com/x": "1",
    }  # fmt: skip


def test_overhead() -> None:
    one = pod(container("c", {"cpu": "1"}, {"cpu": "2"}), overhead={"cpu": "250m", "memory": "64Mi"})
    assert taken(PODS, "cpu limits.cpu memory limits.memory", one) == {
        "cpu": "1250m", "limits.cpu": "2250m", "memory": "64Mi", "limits.memory": "0",
    }  # fmt: skip


def test_a_pod_that_is_resized() -> None:
    def resized(**more: Any) -> Object:
        known = {
            "name": "c",
            "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}},
            "allocatedResources": {"cpu": "4"},
        }
        return pod(container("c", {"cpu": "7"}, {"cpu": "8"}), status={"containerStatuses": [known], **more})

    assert taken(PODS, "cpu limits.cpu", resized()) == {"cpu": "7", "limits.cpu": "8"}
    stuck = resized(conditions=[{"type": "PodResizePending", "reason": "Infeasible"}])
    assert taken(PODS, "cpu limits.cpu", stuck) == {"cpu": "4", "limits.cpu": "3"}
    later = resized(conditions=[{"type": "PodResizePending", "reason": "Deferred"}])
    assert taken(PODS, "cpu", later) == {"cpu": "7"}


def test_pods_that_have_ended_are_there() -> None:
    ended = [pod(container("c", {"cpu": "1"}), status={"phase": phase}) for phase in ("Succeeded", "Failed", "Running")]
    assert taken(PODS, "pods count/pods cpu", *ended) == {"pods": "1", "count/pods": "3", "cpu": "1"}


def test_pods_whose_time_to_end_is_over() -> None:
    one = pod(container("c", {"cpu": "1"}))
    one["metadata"] |= {"deletionTimestamp": "2026-01-01T12:00:00Z", "deletionGracePeriodSeconds": 30}
    end = NOW + datetime.timedelta(seconds=30)
    assert expires(PODS, one) == end
    assert taken(PODS, "pods count/pods", one, now=end) == {"pods": "1", "count/pods": "1"}
    late = end + datetime.timedelta(seconds=1)
    assert taken(PODS, "pods count/pods", one, now=late) == {"pods": "0", "count/pods": "1"}


TERM: Object = {"topologyKey": "x"}


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("Terminating", {"activeDeadlineSeconds": 0}, {}),
        ("NotTerminating", {}, {"activeDeadlineSeconds": 5}),
        ("PriorityClass", {"priorityClassName": "high"}, {}),
        (
            "CrossNamespacePodAffinity",
            {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {**TERM, "namespaceSelector": {}}}]}}},
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}},
        ),
        ("BestEffort", {"resources": {}}, {"resources": {"limits": {"memory": "1"}}}),
    ],
)  # fmt: skip
def test_scopes(scope: str, inside: Object, outside: Object) -> None:
    assert taken(PODS, "pods", pod(**inside), scopes=[scope]) == {"pods": "1"}
    assert taken(PODS, "pods", pod(**outside), scopes=[scope]) == {"pods": "0"}


def test_best_effort() -> None:
    asks = pod(container("a"), container("b", limits={"cpu": "1"}))
    said = pod(container("b", limits={"cpu": "1"}), status={"qosClass": "BestEffort"})
    none = pod(container("a", {"cpu": "0", "example.com/x": "1"}))
    assert taken(PODS, "pods", asks, said, none, scopes=["BestEffort"]) == {"pods": "2"}
    assert taken(PODS, "pods", asks, said, none, scopes=["NotBestEffort"]) == {"pods": "1"}
    assert taken(PODS, "pods", none, scopes=["BestEffort", "Terminating"]) == {"pods": "0"}


def test_scope_selectors() -> None:
    def by(operator: str, *values: str) -> Object:
        return {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": list(values)}]}

    pods = [pod(priorityClassName="high"), pod(priorityClassName="low"), pod()]
    for operator, values, number in (
        ("In", ("high", "mid"), "1"), ("NotIn", ("high",), "2"), ("Exists", (), "2"), ("DoesNotExist", (), "1"),
    ):  # fmt: skip
        assert taken(PODS, "pods", *pods, scopeSelector=by(operator, *values)) == {"pods": number}, operator
    assert not selects(Requirement("PriorityClass", "Like"), ["x"])


def test_services() -> None:
    def service(kind: str | None, *ports: int, **more: Any) -> Object:
        spec = {"ports": [{"nodePort": port} if port else {} for port in ports], **more}
        return {"metadata": {}, "spec": spec | ({"type": kind} if kind else {})}

    keys = "services count/services services.nodeports services.loadbalancers"
    assert taken(
        SERVICES, keys, service(None, 0), service("NodePort", 0, 0), service("LoadBalancer", 0, 0, 0),
        service("LoadBalancer", 0, 30000, allocateLoadBalancerNodePorts=False), service("ExternalName"),
    ) == {"services": "5", "count/services": "5", "services.nodeports": "6", "services.loadbalancers": "2"}  # fmt: skip


def volume(storage: str | None, name: str | None = None, allocated: str | None = None, **meta: Any) -> Object:
    spec: Object = {"resources": {"requests": {"storage": storage}} if storage else {}}
    status = {"allocatedResources": {"storage": allocated}} if allocated else {}
    return {"metadata": meta, "spec": spec | ({"storageClassName": name} if name else {}), "status": status}


def test_volumes() -> None:
    gold = "gold.storageclass.storage.k8s.io/"
    keys = f"persistentvolumeclaims requests.storage {gold}requests.storage {gold}persistentvolumeclaims"
    beta: Object = {"annotations": {"volume.beta.kubernetes.io/storage-class": "gold"}}
    assert taken(
        VOLUMES, keys, volume("1Gi"), volume("1Gi", "gold", "3Gi"), volume("1Gi", "silver", "1Mi"),
        volume("1Gi", "silver", **beta), volume(None, "gold"), volume("1500m"),
    ) == {
        "persistentvolumeclaims": "6", "requests.storage": "6442450946",
        f"{gold}requests.storage": "4Gi", f"{gold}persistentvolumeclaims": "3",
    }  # fmt: skip


def test_volumes_by_attributes() -> None:
    def by(operator: str, *values: str) -> Object:
        term = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": list(values)}
        return {"matchExpressions": [term]}

    moving = volume("1Gi")
    moving["spec"]["volumeAttributesClassName"] = "fast"
    moving["status"]["currentVolumeAttributesClassName"] = "slow"
    for operator, values, number in (
        ("In", ("slow",), "1"), ("NotIn", ("fast",), "2"), ("Exists", (), "1"), ("DoesNotExist", (), "1"),
    ):  # fmt: skip
        found = taken(VOLUMES, "persistentvolumeclaims", moving, volume("1Gi"), scopeSelector=by(operator, *values))
        assert found == {"persistentvolumeclaims": number}, operator
    assert taken(VOLUMES, "persistentvolumeclaims", moving, scopes=["BestEffort"]) == {"persistentvolumeclaims": "0"}


def test_devices() -> None:
    def exactly(name: str, mode: str = "ExactCount", count: int = 0) -> Object:
        return {"deviceClassName": name, "allocationMode": mode, "count": count}

    requests = [
        {"exactly": exactly("gpu", count=2)},
        {"exactly": exactly("nic", "All")},
        {"exactly": exactly("gpu", "Later", 7)},
        {"firstAvailable": [exactly("gpu", count=1), exactly("gpu", count=3), exactly("nic", count=4)]},
    ]
    claim = {"metadata": {}, "spec": {"devices": {"requests": requests}}}
    mark = ".deviceclass.resource.k8s.io/devices"
    keys = f"count/resourceclaims.resource.k8s.io gpu{mark} nic{mark} fpga{mark}"
    assert taken(DEVICES, keys, claim, {"metadata": {}, "spec": {}}) == {
        "count/resourceclaims.resource.k8s.io": "2", f"gpu{mark}": "5", f"nic{mark}": "36", f"fpga{mark}": "0",
    }  # fmt: skip


def test_what_changes_nothing() -> None:
    one = pod(container("c", {"cpu": "1"}))
    for same in ({"hostIP": "1"}, {"phase": "Running"}):
        assert facts(PODS, pod(container("c", {"cpu": "1"}), status=same), NOW) == facts(PODS, one, NOW)
    for other in (
        pod(container("c", {"cpu": "2"})), pod(container("c", {"cpu": "1"}), status={"phase": "Failed"}),
        pod(container("c", {"cpu": "1"}), activeDeadlineSeconds=1),
    ):  # fmt: skip
        assert facts(PODS, other, NOW) != facts(PODS, one, NOW)
    assert facts(VOLUMES, volume("1Gi", "gold"), NOW) != facts(VOLUMES, volume("1Gi"), NOW)
    assert facts(Type("", "secrets"), {}, NOW) is None


def quota(hard: Object, status: Object | None = None) -> Object:
    meta = {"name": "q", "namespace": "n", "uid": "1", "resourceVersion": "7"}
    return {"metadata": meta, "spec": {"hard": hard}, "status": status or {}}


def counted(keys: str, number: int) -> Any:
    return numbered(Need(PODS, frozenset(keys.split()), False), number)


def test_what_is_written() -> None:
    new = changes(quota({"pods": "2"}), counted("pods", 1))
    assert new == {
        "metadata": {"resourceVersion": "7", "uid": "1"}, "status": {"hard": {"pods": "2"}, "used": {"pods": "1"}},
    }  # fmt: skip
    same = {"hard": {"pods": "2"}, "used": {"pods": "1"}}
    assert changes(quota({"pods": "2"}, same), counted("pods", 1)) is None
    assert changes(quota({"pods": "2"}, same), {}) is None
    assert changes(quota({"pods": "2"}, {"hard": {"pods": "2"}, "used": {"pods": "1000m"}}), counted("pods", 1)) is None
    less = changes(quota({"secrets": "2"}, same), counted("secrets", 0))
    assert less is not None
    assert less["status"] == {"hard": {"secrets": "2", "pods": None}, "used": {"secrets": "0", "pods": None}}
    uncounted = changes(quota({"pods": "3", "secrets": "1"}, same), {})
    assert uncounted is not None
    assert uncounted["status"] == {"hard": {"pods": "3", "secrets": "1"}, "used": {}}
