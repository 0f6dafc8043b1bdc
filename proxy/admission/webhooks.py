"""One webhook asked about one request: question, answer, and what is wrong with it.

Follows ``k8s.io/apiserver/pkg/admission/plugin/webhook/request`` and ``.../errors``, words included.
"""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.admission.calls import Caller, CallError
from proxy.admission.counts import ALLOWED, DENIED, FAILED, MUTATING, VALIDATING
from proxy.admission.matching import Invocation
from proxy.admission.review import Review
from proxy.kube.client import Object
from proxy.kube.errors import StatusError

VERSIONS = ("v1", "v1beta1")
"""Of admission.k8s.io, that can be spoken."""
DEFAULT_TIMEOUT = 10
NO_EFFECTS = ("None", "NoneOnDryRun")


class Failed(Exception):
    """A webhook that could not be asked (``ErrCallingWebhook``): its failure policy says what that means."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"failed calling webhook {_quoted(name)}: {why}")


@dataclass(frozen=True, slots=True)
class Answer:
    patch: list[Object]
    warnings: list[str]


def internal(why: str) -> StatusError:
    """As ``apierrors.NewInternalError``."""
    return StatusError(500, f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


async def ask(
    caller: Caller, token: str, invocation: Invocation, review: Review, *, mutating: bool, left: float
) -> Answer:
    """``left``: seconds that there are at all. Raises Failed, and StatusError where the webhook says no."""
    began, result = time.monotonic(), ALLOWED
    try:
        return await _asked(caller, token, invocation, review, mutating=mutating, left=left)
    except Failed:
        result = FAILED
        raise
    except StatusError:
        result = DENIED
        raise
    finally:
        caller.counts.add(MUTATING if mutating else VALIDATING, result, time.monotonic() - began)


async def _asked(
    caller: Caller, token: str, invocation: Invocation, review: Review, *, mutating: bool, left: float
) -> Answer:
    name, said = invocation.webhook.name, invocation.webhook.said
    if review.dry_run and said.get("sideEffects") not in NO_EFFECTS:
        raise StatusError(400, f"admission webhook {_quoted(name)} does not support dry run")
    uid = str(uuid.uuid4())
    version = next((one for one in said.get("admissionReviewVersions") or () if one in VERSIONS), None)
    if version is None:
        why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        raise Failed(name, f"could not create admission objects: {why}")
    timeout = min(said.get("timeoutSeconds") or DEFAULT_TIMEOUT, max(left, 0.001))
    try:
        answer = await caller.post(
            token, said.get("clientConfig") or {}, question(uid, version, invocation, review), timeout
        )
    except CallError as error:
        raise Failed(name, f"failed to call webhook: {error}") from error
    try:
        response = _verified(answer, uid, version, mutating=mutating)
    except ValueError as error:
        raise Failed(name, f"received invalid webhook response: {error}") from None
    warnings = [warning for warning in response.get("warnings") or () if isinstance(warning, str)]
    review.warnings += warnings
    if not response.get("allowed"):
        raise denied(name, response.get("status"))
    try:
        return Answer(_patch(response) if mutating else [], warnings)
    except ValueError as error:
        raise Failed(name, f"received undecodable patch in webhook response: {error}") from None


def question(uid: str, version: str, invocation: Invocation, review: Review) -> bytes:
    """An AdmissionReview."""
    objects = {"object": invocation.seen(review.object), "oldObject": invocation.seen(review.old_object)}
    request = {"uid": uid, **invocation.request(review), **objects}
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request})


def _verified(answer: Any, uid: str, version: str, *, mutating: bool) -> Object:
    """The response. Raises ValueError."""
    response: Object = (answer.get("response") if isinstance(answer, dict) else None) or {}
    if not response:
        raise ValueError("webhook response was absent")
    if version == "v1beta1":
        return response
    if response.get("uid") != uid:
        raise ValueError(f"expected response.uid={_quoted(uid)}, got {_quoted(str(response.get('uid') or ''))}")
    if (answer.get("apiVersion"), answer.get("kind")) != ("admission.k8s.io/v1", "AdmissionReview"):
        got = f"{answer.get('apiVersion') or '/'}, Kind={answer.get('kind') or ''}"
        raise ValueError(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {got}")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not mutating:
        if patch:
            raise ValueError("validating webhook may not return response.patch")
        if patch_type is not None:
            raise ValueError("validating webhook may not return response.patchType")
    elif patch and patch_type is None:
        raise ValueError("webhook returned response.patch but not response.patchType")
    elif not patch and patch_type is not None:
        raise ValueError("webhook returned response.patchType but not response.patch")
    elif patch_type == "":
        raise ValueError('webhook returned invalid response.patchType of ""')
    elif patch and patch_type != "JSONPatch":
        raise ValueError(f"unsupported patch type {_quoted(str(patch_type))}")
    return response


def _patch(response: Object) -> list[Object]:
    """Raises ValueError."""
    if not response.get("patch"):
        return []
    patch = orjson.loads(base64.b64decode(response["patch"], validate=True))
    if patch is None:
        return []
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise ValueError("json: cannot unmarshal into Go value of type jsonpatch.Patch")
    return patch


def denied(name: str, status: Any) -> StatusError:
    """As ``ToStatusErr``."""
    said: Object = status if isinstance(status, dict) else {}
    code = said.get("code")
    code = code if isinstance(code, int) and code >= 400 else 400
    by = f"admission webhook {_quoted(name)} denied the request"
    reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    explained = f"{by}: {message or reason}" if message or reason else f"{by} without explanation"
    details = said.get("details")
    return Denied(code, explained, reason=reason, details=details if isinstance(details, dict) else None)


class Denied(StatusError):
    """By a webhook, whose Status need not be complete."""

    def status(self) -> Object:
        made = super().status()
        if not self.details:
            made.pop("details", None)
        if not self.reason:
            made.pop("reason", None)
        return made


def _quoted(text: str) -> str:
    """As Go's ``%q``, for what names hold."""
    return orjson.dumps(text).decode()
