"""The values that the checks render: what people install, and everything at once."""

from __future__ import annotations

_INSTALLED = """
proxy: {image: {repository: registry.example.com/domino-triton-proxy}}
models: {s3: {bucket: acme-models, region: us-west-2}}
"""

VALUE_SETS = {
    "default": _INSTALLED,
    "dev-cpu": f"# from: values-dev-cpu.yaml\n{_INSTALLED}",
    "gpu": f"# from: values-gpu.yaml\n{_INSTALLED}",
    "openshift": f"# from: values-openshift.yaml\n{_INSTALLED}",
    "kind": "# from: values-kind.yaml\n{}\n",
    "everything": """
monitoring:
  podMonitor: {enabled: true, labels: {release: kube-prometheus-stack}, interval: 15s}
  prometheusRule: {enabled: true, labels: {release: kube-prometheus-stack}, latencySecs: 0.25}
imagePullSecrets: [registry, {name: registry-2}]
triton:
  image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
  extraArgs: ["--backend-config=onnxruntime,default-max-batch-size=8"]
  traces: {enabled: true}
  tls: {secretName: triton-tls, clientSecretName: proxy-to-triton-tls}
  serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/models-read"}
  podLabels: {example.com/cost-center: "4711"}
  podAnnotations: {example.com/team: vision}
  resources: {requests: {cpu: 0.5, memory: 2147483648}, limits: {memory: 8Gi}}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [us-west-2a]}]
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}
  priorityClassName: serving
  extraEnv:
    - {name: LD_PRELOAD, value: /opt/plugins/libops.so}
    - {name: LICENSE, valueFrom: {secretKeyRef: {name: license, key: key}}}
  extraVolumes:
    - {name: plugins, persistentVolumeClaim: {claimName: plugins}}
    - {name: cache, emptyDir: {sizeLimit: 4Gi}}
    - {name: settings, configMap: {name: settings}}
  extraVolumeMounts:
    - {name: plugins, mountPath: /opt/plugins}
    - {name: cache, mountPath: /opt/cache}
    - {name: settings, mountPath: /opt/settings.json, subPath: settings.json}
proxy:
  podLabels: {example.com/cost-center: "4711"}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 1
          podAffinityTerm:
            labelSelector: {matchLabels: {example.com/noisy: "true"}}
            topologyKey: kubernetes.io/hostname
  topologySpreadConstraints: []
  priorityClassName: serving
  workers: 2
  image: {repository: registry.example.com/domino-triton-proxy}
  settings:
    KEYCLOAK_ISSUER: https://domino.example.com/auth/realms/DominoRealm
    KEYCLOAK_JWKS_URL: http://keycloak-http.domino-platform/auth/realms/DominoRealm/protocol/openid-connect/certs
    KEYCLOAK_ISSUER_ALIASES: "https://before.example.com/auth/realms/DominoRealm, https://inside.example.com/auth/realms/DominoRealm"
    JWT_AUTHORIZED_PARTIES: domino-play, domino-batch
    REQUIRE_MODEL_VERSION: false
    MAX_MB_IN_FLIGHT_PER_PRINCIPAL: 1048576
    TRITON_SERVER_NAME: triton.example.com
    AUTH_CACHE_SECS: 7.5
    DRAIN_SECS: 12.5
    OTEL_EXPORTER_OTLP_ENDPOINT: http://collector.tracing:4318
    OTEL_TRACES_SAMPLER_ARG: 0.05
    TRACE_PRINCIPALS: true
  accessPolicy:
    rules:
      - {models: [yolov8n], versions: ["3"], allow: {groups: [/organizations/acme/vision]}}
  tls: {secretName: proxy-tls, clientCaSecretName: clients-ca}
  dominoCaConfigMap: domino-ca
models:
  s3: {bucket: acme-models, region: us-west-2, authenticationSource: pod}
  edv: {enabled: true}
networkPolicy:
  clients:
    - {namespace: domino-compute, podLabels: {dominodatalab.com/workload-type: Workspace}}
    - {namespace: domino-compute-2}
  monitoring:
    - {namespace: monitoring, podLabels: {app.kubernetes.io/name: prometheus}}
  dns:
    peers: [{namespace: kube-system, podLabels: {k8s-app: kube-dns}}]
    nodeLocalCache: [169.254.20.10]
  domino:
    cidrs: [10.20.30.0/24, 100.64.0.0/10]
  traces:
    peers: [{namespace: tracing, podLabels: {app.kubernetes.io/name: opentelemetry-collector}}]
  apiServer: {cidrs: [10.0.0.10/32], ports: [443, 6443]}
scaler:
  enabled: true
  image:
    repository: registry.example.com/domino-triton-scaler
    digest: "sha256:1111111111111111111111111111111111111111111111111111111111111111"
  settings:
    KEYCLOAK_ISSUER: https://domino.example.com/auth/realms/DominoRealm
    JWT_AUTHORIZED_PARTIES: domino-play, domino-batch
    STUCK_AFTER_SECS: 300
    DRAIN_SECS: 2.5
  policy:
    rules:
      - allow: {users: [ana], groups: ["/organizations/acme/**"], realm_roles: [scaler]}
        deployments: [inference-server]
        verbs: [view, scale]
        replicas: {min: "1", max: "2"}
  idle: {enabled: true, cooldownPeriod: 900, minReplicaCount: 2}
  schedule:
    - {cron: "0 20 * * 1-5", timeZone: Europe/Berlin, deployment: inference-server, replicas: 0}
    - {cron: "0 7 * * 1-5", timeZone: Europe/Berlin, deployment: inference-server, replicas: 2}
  tls: {secretName: scaler-tls}
  dominoCaConfigMap: domino-ca
  podLabels: {example.com/cost-center: "4711"}
  podAnnotations: {example.com/team: vision}
  nodeSelector: {kubernetes.io/arch: amd64}
  priorityClassName: serving
autoscaling: {provider: prometheus-adapter, triton: {maxReplicas: 6}, proxy: {inFlight: 32}}
publisher:
  enabled: true
  image: {repository: registry.example.com/domino-triton-publisher}
  args: [publish, "models:/yolov8n/3", "s3://acme-models/triton/inference-dev-vision/triton-inference-server/models"]
  claim: publisher-models
  podLabels: {example.com/cost-center: "4711"}
  podAnnotations: {example.com/team: vision}
  nodeSelector: {kubernetes.io/arch: amd64}
  tolerations: [{key: batch, operator: Exists, effect: NoSchedule}]
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - {labelSelector: {matchExpressions: [{key: app, operator: Exists}]}, topologyKey: topology.kubernetes.io/zone}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: {app: batch}}
  priorityClassName: batch
  env: {MLFLOW_TRACKING_URI: "http://mlflow.domino-platform:80"}
  envSecretName: publisher-credentials
  caConfigMap: proxy-ca
  egress:
    - {peers: [{namespace: domino-platform}], ports: [5000]}
    - {cidrs: [52.216.0.0/15], ports: [443]}
""",
    "ipv6": f"""{_INSTALLED}
triton: {{ipFamily: IPv6}}
networkPolicy:
  dns: {{cidrs: [fd00:10:96::a/128], nodeLocalCache: [169.254.20.10, "fd00:90::10"]}}
  domino: {{peers: [], cidrs: ["2001:db8:20::/48", fd00::/16, 10.20.0.0/16], ports: [443]}}
""",
    **{
        mode: f"""
models: {{s3: {{bucket: acme-models, region: us-west-2}}}}
mesh: {{mode: {mode}, trustDomain: acme.example}}
publisher:
  enabled: true
  image: {{repository: registry.example.com/domino-triton-publisher}}
  egress:
    - {{peers: [{{namespace: domino-platform, podLabels: {{app: mlflow}}}}], ports: [5000]}}
    - {{cidrs: [52.216.0.0/15], ports: [443]}}
networkPolicy:
  clients:
    - {{namespace: domino-compute, podLabels: {{dominodatalab.com/workload-type: Workspace}}}}
    - {{namespace: domino-compute-2}}
  monitoring: [{{namespace: monitoring}}]
proxy:
  image: {{repository: registry.example.com/domino-triton-proxy}}
  settings:
    KEYCLOAK_ISSUER: https://domino.example.com/auth/realms/DominoRealm
  tls: {{secretName: proxy-tls}}
"""
        for mode in ("sidecar", "ambient")
    },
    "scaler": f"""{_INSTALLED}
scaler:
  enabled: true
  image: {{repository: registry.example.com/domino-triton-scaler}}
  policy:
    rules:
      - description: the platform team
        allow: {{client_roles: [{{client: triton-inference-server, role: admin}}], admins: true}}
        deployments: [inference-server, proxy]
        verbs: [view, logs, scale, resources, restart]
        replicas: {{max: "4"}}
        resources: {{memory: {{max: 64Gi}}, gpu: {{max: "2"}}}}
networkPolicy:
  apiServer: {{cidrs: [10.0.0.10/32, 10.0.0.11/32], ports: [6443]}}
""",
    "closed": """
proxy: {image: {repository: registry.example.com/domino-triton-proxy}, http: {enabled: false}}
models: {s3: {bucket: acme-models, region: us-west-2}}
networkPolicy: {clients: [], monitoring: []}
""",
}
