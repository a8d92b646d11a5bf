"""The answers, as JSON tells them."""

from __future__ import annotations

from scale_service import rollout
from scale_service.cluster import Json
from scale_service.quantities import KUBERNETES_NAMES


def described(what: str, found: rollout.Rollout) -> Json:
    """A Deployment's state as the REST API tells it."""
    return {
        "deployment": what,
        "name": found.name,
        "namespace": found.namespace,
        "overall_status": found.state.value,
        "deployment_replicas": {
            "desired_replicas": found.desired,
            "current_replicas": found.current,
            "updated_replicas": found.updated,
            "ready_replicas": found.ready,
            "available_replicas": found.available,
        },
        "problems": [vars(problem) for problem in found.problems],
        "resource_version": found.resource_version,
    }


def scaled(what: str, found: rollout.Rollout) -> Json:
    """How many replicas a Deployment has, and is to have."""
    return {
        "deployment": what,
        "name": found.name,
        "namespace": found.namespace,
        "current_replicas": found.current,
        "desired_replicas": found.desired,
        "resource_version": found.resource_version,
    }


def resources_of(what: str, deployment: Json, container: Json) -> Json:
    """What a container of a Deployment asks for and may use."""
    given = container.get("resources") or {}
    ours = {theirs: name for name, theirs in KUBERNETES_NAMES.items()}
    return {
        "deployment": what,
        "name": deployment["metadata"]["name"],
        "namespace": deployment["metadata"].get("namespace", ""),
        "container_name": container["name"],
        "resources": {
            kind: {ours[key]: str(value) for key, value in (given.get(kind) or {}).items() if key in ours}
            for kind in ("requests", "limits")
        },
        "resource_version": str(deployment["metadata"].get("resourceVersion", "")),
    }
