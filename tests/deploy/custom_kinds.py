"""Strict shapes of the custom resources that the chart makes: the fields it may use, as their definitions have them."""


def shape(properties, required=()):
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
WORDS = {"type": "object", "additionalProperties": TEXT}
META = shape({"name": TEXT, "namespace": TEXT, "labels": WORDS, "annotations": WORDS}, ["name"])
DURATION = {"type": "string", "pattern": r"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"}


def kind(spec):
    return shape({"apiVersion": TEXT, "kind": TEXT, "metadata": META, "spec": spec}, ["apiVersion", "kind", "metadata", "spec"])


SCALED_OBJECT = kind(shape({
    "scaleTargetRef": shape({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}, ["name"]),
    "minReplicaCount": COUNT, "maxReplicaCount": COUNT, "pollingInterval": COUNT, "cooldownPeriod": COUNT,
    "advanced": shape({"horizontalPodAutoscalerConfig": shape({"name": TEXT, "behavior": {"type": "object"}})}),
    "triggers": {"type": "array", "minItems": 1, "items": shape(
        {"type": TEXT, "name": TEXT, "metadata": WORDS, "metricType": {"enum": ["AverageValue", "Value"]}}, ["type", "metadata"])},
}, ["scaleTargetRef", "triggers"]))

SERVICE_MONITOR = kind(shape({
    "selector": shape({"matchLabels": WORDS}),
    "endpoints": {"type": "array", "minItems": 1, "items": shape({
        "port": TEXT, "path": TEXT, "interval": DURATION, "scrapeTimeout": DURATION,
        "scheme": {"enum": ["http", "https"]}, "tlsConfig": shape({"insecureSkipVerify": {"type": "boolean"}}),
        "authorization": shape({"type": TEXT, "credentials": shape({"name": TEXT, "key": TEXT}, ["key"])})})},
}, ["selector", "endpoints"]))

PROMETHEUS_RULE = kind(shape({"groups": {"type": "array", "minItems": 1, "items": shape({
    "name": TEXT, "interval": DURATION,
    "rules": {"type": "array", "items": shape(
        {"alert": TEXT, "expr": TEXT, "for": DURATION, "labels": WORDS, "annotations": WORDS}, ["alert", "expr"])}}, ["name"])}}))

EITHER = {"type": ["integer", "string"]}
TEMPLATE = shape({"metadata": {"type": "object"}, "spec": {"type": "object"}}, ["metadata", "spec"])  # see pods_of
LEADER_WORKER_SET = kind(shape({
    "replicas": COUNT,
    "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
    "rolloutStrategy": shape({"type": {"enum": ["RollingUpdate"]},
                              "rollingUpdateConfiguration": shape({"partition": COUNT, "maxUnavailable": EITHER, "maxSurge": EITHER})}, ["type"]),
    "leaderWorkerTemplate": shape({
        "size": {"type": "integer", "minimum": 1},
        "restartPolicy": {"enum": ["Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]},
        "leaderTemplate": TEMPLATE, "workerTemplate": TEMPLATE}, ["workerTemplate"]),
}, ["leaderWorkerTemplate"]))


def pods_of(one):
    """The pods that a custom resource makes, as Kubernetes' own schema knows them."""
    if one["kind"] != "LeaderWorkerSet":
        return []
    both = one["spec"]["leaderWorkerTemplate"]
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {**both[role]["metadata"], "name": role}, "spec": both[role]["spec"]}
            for role in ("leaderTemplate", "workerTemplate")]


CUSTOM = {("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): LEADER_WORKER_SET,
          ("keda.sh/v1alpha1", "ScaledObject"): SCALED_OBJECT,
          ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
          ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE}
