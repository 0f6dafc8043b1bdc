"""Five dashboards: who uses kcp and what fails, one workspace, the proxy's insides, shards, syncing."""

from __future__ import annotations

from grafana.panels import Board, Panel, Query, Row, Variable, limits, wanted

RATE = "[$__rate_interval]"
SHARDS = Variable("shard", "Shard", "label_values(kcp_shard_up, shard)", every=True)
WORKSPACES = Variable("workspace", "Workspace", "label_values(kcp_proxy_workspace_requests_total, workspace)")


def rate(metric: str, by: str = "", inside: str = "") -> str:
    """Per second, added up, for each value of the labels ``by``; ``inside``: matchers."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped}(rate({metric}{f'{{{inside}}}' if inside else ''}{RATE}))"


def quantiles(metric: str, inside: str = "") -> tuple[Query, ...]:
    """Median and the slowest tenth and hundredth of a histogram."""
    buckets = rate(f"{metric}_bucket", "le", inside)
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.9, 0.99))


def mean(metric: str, legend: str, inside: str = "", by: str = "") -> Query:
    sums, counts = (rate(f"{metric}_{part}", by, inside) for part in ("sum", "count"))
    return Query(f"{sums} / ({counts} > 0)", legend)


def share(part: str, whole: str) -> str:
    """``part`` of ``whole``, 0 where there is nothing."""
    return f"{part} / clamp_min({whole}, 1e-9)"


FAILED = share(rate("kcp_proxy_responses_total", inside='class="5xx"'), rate("kcp_proxy_responses_total"))

OVERVIEW = Board(
    name="overview",
    title="Overview",
    description="Who uses kcp, how fast it answers, and what fails.",
    rows=(
        Row("At a glance", (
            Panel(title="Requests", description="Requests per second, all workers together.", unit="reqps", stat=True,
                  width=4, queries=(Query(rate("kcp_proxy_responses_total"), "requests"),)),
            Panel(title="Failed", description="Share of requests that were answered with 5xx. The objective is 0.1 %.",
                  unit="percentunit", stat=True, width=4, thresholds=limits(0.001, 0.01),
                  queries=(Query(FAILED, "failed"),)),
            Panel(title="Slowest hundredth", description="99 of 100 short requests are answered within this time.",
                  unit="s", stat=True, width=4, thresholds=limits(0.5, 1.0),
                  queries=quantiles("kcp_proxy_request_duration_seconds")[2:]),
            Panel(title="Workspaces", description="Workspaces of all phases.", unit="short", stat=True, width=4,
                  queries=(Query("sum(kcp_workspaces)", "workspaces"),)),
            Panel(title="Shards that work", description="Share of shards whose workspaces can be followed.",
                  unit="percentunit", stat=True, width=4, thresholds=wanted(1.0),
                  queries=(Query("avg(kcp_shard_up)", "up"),)),
            Panel(title="Clusters that are not ready", description="Physical clusters without a heartbeat.",
                  unit="short", stat=True, width=4, thresholds=limits(1, 3),
                  queries=(Query('sum(kcp_workload_clusters{state!="ready"})', "clusters"),)),
        )),
        Row("Requests", (
            Panel(title="By verb", description="Requests per second by verb.", unit="reqps", stacked=True,
                  queries=(Query(rate("kcp_proxy_requests_total", "verb"), "{{verb}}"),)),
            Panel(title="By code", description="Requests per second by status code; 0 is a client that left.",
                  unit="reqps", queries=(Query(rate("kcp_proxy_requests_total", "code"), "{{code}}"),)),
            Panel(title="By resource", description="The ten resources with the most requests.", unit="reqps",
                  queries=(Query("topk(10, " + rate("kcp_proxy_requests_total", "resource", 'resource!=""') + ")",
                                 "{{resource}}"),)),
            Panel(title="Duration", description="From a request's arrival to the end of its answer; watches excepted.",
                  unit="s", thresholds=limits(0.5, 1.0), queries=quantiles("kcp_proxy_request_duration_seconds")),
            Panel(title="Busiest workspaces", description="Requests per second of the ten busiest workspaces.",
                  unit="reqps",
                  queries=(Query(f"topk(10, {rate('kcp_proxy_workspace_requests_total', 'workspace')})",
                                 "{{workspace}}"),)),
            Panel(title="Refused", description="Requests that kcp answered with 400 or more itself, by the step.",
                  unit="reqps", queries=(Query(rate("kcp_proxy_refusals_total", "step"), "{{step}}"),)),
        )),
        Row("Workspaces and clusters", (
            Panel(title="Workspaces by phase", description="Ready is what users can enter.", unit="short",
                  queries=(Query("sum by (phase) (kcp_workspaces)", "{{phase}}"),)),
            Panel(title="New workspaces", description="How long new workspaces took until they were Ready.", unit="s",
                  thresholds=limits(2.0, 10.0),
                  queries=(Query('histogram_quantile(0.9, sum by (le) '
                                 '(kcp_workspace_creation_duration_seconds_bucket))', "p90, since the start"),)),
            Panel(title="Physical clusters", description="By state; unknown ones were never heard of.", unit="short",
                  queries=(Query("sum by (state) (kcp_workload_clusters)", "{{state}}"),)),
        )),
    ),
)  # fmt: skip

ONE = 'workspace="$workspace"'
WORKSPACE = Board(
    name="workspace",
    title="Workspace",
    description="One of the busiest workspaces: how much it asks for, how fast it is answered, what fails.",
    variables=(WORKSPACES,),
    rows=(
        Row("$workspace", (
            Panel(title="Requests", description="Requests per second of this workspace.", unit="reqps", stat=True,
                  width=6, queries=(Query(rate("kcp_proxy_workspace_requests_total", inside=ONE), "requests"),)),
            Panel(title="Failed", description="Share of its requests that were answered with 5xx.", unit="percentunit",
                  stat=True, width=6, thresholds=limits(0.001, 0.01),
                  queries=(Query(share(rate("kcp_proxy_workspace_requests_total", inside=f'{ONE}, class="5xx"'),
                                       rate("kcp_proxy_workspace_requests_total", inside=ONE)), "failed"),)),
            Panel(title="Within a second", description="Share of its short requests that took at most a second.",
                  unit="percentunit", stat=True, width=6, thresholds=wanted(0.99),
                  queries=(Query(
                      rate("kcp_proxy_workspace_request_duration_seconds_bucket", inside=f'{ONE}, le="1.0"') + " / ("
                      + rate("kcp_proxy_workspace_request_duration_seconds_count", inside=ONE) + " > 0)",
                      "within 1 s"),)),
            Panel(title="Share of all", description="Of the requests of all workspaces together.", unit="percentunit",
                  stat=True, width=6, thresholds=limits(0.5, 0.8),
                  queries=(Query(share(rate("kcp_proxy_workspace_requests_total", inside=ONE),
                                       rate("kcp_proxy_responses_total")), "share"),)),
        )),
        Row("In time", (
            Panel(title="By result", description="Requests per second by the first digit of the code.", unit="reqps",
                  stacked=True,
                  queries=(Query(rate("kcp_proxy_workspace_requests_total", "class", ONE), "{{class}}"),)),
            Panel(title="Duration", description="Mean duration of its short requests, beside that of all.", unit="s",
                  thresholds=limits(0.5, 1.0),
                  queries=(mean("kcp_proxy_workspace_request_duration_seconds", "this workspace", ONE),
                           mean("kcp_proxy_request_duration_seconds", "all"))),
            Panel(title="Traffic", description="Bytes of bodies, as the workspace sees it.", unit="Bps",
                  queries=(Query(rate("kcp_proxy_workspace_bytes_total", "direction", ONE), "{{direction}}"),)),
        )),
    ),
)  # fmt: skip

PROXY = Board(
    name="proxy",
    title="Proxy",
    description="Inside the proxy: where time goes, what is known without asking, connections, processes.",
    rows=(
        Row("Time", (
            Panel(title="Mean duration: shard and proxy", description="What a request waits for the shard, and in all.",
                  unit="s", queries=(mean("kcp_proxy_shard_duration_seconds", "shard"),
                                     mean("kcp_proxy_request_duration_seconds", "in all"))),
            Panel(title="Event loop lag", description="How late the event loops run what is due.", unit="s",
                  thresholds=limits(0.1, 0.25), queries=quantiles("kcp_proxy_event_loop_lag_seconds")),
            Panel(title="CPU", description="CPU seconds per second of the workers: 1 is a core.", unit="short",
                  stacked=True, queries=(Query(rate("kcp_proxy_cpu_seconds_total", "mode"), "{{mode}}"),)),
            Panel(title="In flight", description="Requests being answered; all but short ones are endless.",
                  unit="short", queries=(Query("sum by (kind) (kcp_proxy_requests_in_flight)", "{{kind}}"),)),
            Panel(title="Traffic", description="Bytes of bodies of requests and answers.", unit="Bps",
                  queries=(Query(rate("kcp_proxy_received_bytes_total"), "received"),
                           Query(rate("kcp_proxy_sent_bytes_total"), "sent"))),
            Panel(title="Cut", description="Requests whose connection ended before the answer did.", unit="reqps",
                  queries=(Query(rate("kcp_proxy_requests_cut_total"), "cut"),)),
        )),
        Row("Who, and what is known", (
            Panel(title="Who asks", description="Requests by what their credentials said.", unit="reqps",
                  queries=(Query(rate("kcp_proxy_authentication_total", "result"), "{{result}}"),)),
            Panel(title="What is allowed", description="Decisions of authorization; none: it was not asked.",
                  unit="reqps", queries=(Query(rate("kcp_proxy_authorization_total", "decision"), "{{decision}}"),)),
            Panel(title="Known without asking", description="Share of requests that needed no question to a shard.",
                  unit="percentunit", queries=(Query(
                      share('sum by (cache) (kcp_proxy_cache_lookups_total{result="hit"})',
                            "sum by (cache) (kcp_proxy_cache_lookups_total)"), "{{cache}}"),)),
            Panel(title="Questions to shards", description="Requests that had to wait for one, per second.",
                  unit="reqps", queries=(Query(rate("kcp_proxy_cache_lookups_total", "cache", 'result="miss"'),
                                               "{{cache}}"),)),
            Panel(title="OpenAPI documents", description="Memory of the documents that are kept.", unit="bytes",
                  queries=(Query("sum(kcp_proxy_openapi_cache_bytes)", "kept"),)),
            Panel(title="Gate", description="Requests that were not confined to their workspace: a fault of kcp.",
                  unit="short", thresholds=limits(1, 2),
                  queries=(Query('sum(kcp_proxy_refusals_total{step="gate"})', "refused"),)),
        )),
        Row("Connections", (
            Panel(title="Connections", description="Of clients, and to shards.", unit="short",
                  queries=(Query("sum(kcp_proxy_client_connections)", "clients"),
                           Query("sum by (shard, state) (kcp_proxy_shard_connections)", "{{shard}} {{state}}"))),
            Panel(title="TLS handshakes", description="Of clients, by result.", unit="ops",
                  queries=(Query(rate("kcp_proxy_tls_handshakes_total", "result"), "{{result}}"),)),
            Panel(title="Connections to shards", description="Opened, and used again, per second.", unit="ops",
                  queries=(Query(rate("kcp_proxy_shard_connections_opened_total"), "opened"),
                           Query(rate("kcp_proxy_shard_connections_reused_total"), "used again"))),
        )),
        Row("Processes", (
            Panel(title="CPU by process", description="CPU seconds per second.", unit="short",
                  queries=(Query(rate("kcp_process_cpu_seconds_total", "process"), "{{process}}"),)),
            Panel(title="Memory by process", description="Resident memory.", unit="bytes",
                  queries=(Query("sum by (process) (kcp_process_resident_memory_bytes)", "{{process}}"),)),
            Panel(title="Restarts", description="Processes that were started again within five minutes.", unit="short",
                  thresholds=limits(1, 3),
                  queries=(Query("sum by (process) (increase(kcp_process_restarts_total[5m]))", "{{process}}"),)),
            Panel(title="Audit events", description="Written and lost, per second.", unit="ops",
                  queries=(Query(rate("kcp_audit_events_total", "sink"), "written: {{sink}}"),
                           Query(rate("kcp_audit_dropped_total", "sink"), "lost: {{sink}}"))),
            Panel(title="Certificates", description="Time until the first of them ends; a start of kcp renews its own.",
                  unit="s", thresholds=wanted(30 * 86400.0),
                  queries=(Query("min by (certificate) (kcp_certificate_expiry_timestamp_seconds) - time()",
                                 "{{certificate}}"),)),
            Panel(title="Version", description="Versions of kcp and Python.", unit="short", stat=True,
                  queries=(Query("sum by (version, python) (kcp_build_info)", "kcp {{version}}, Python {{python}}"),)),
        )),
    ),
)  # fmt: skip

SOME = 'shard=~"$shard"'
SHARD = Board(
    name="shards",
    title="Shards",
    description="The kube-apiservers behind the proxy, their etcds, and the controllers that work on them.",
    variables=(SHARDS,),
    rows=(
        Row("Shards", (
            Panel(title="Up", description="1 while the workspaces of a shard can be followed.", unit="short",
                  thresholds=wanted(1), queries=(Query(f"min by (shard) (kcp_shard_up{{{SOME}}})", "{{shard}}"),)),
            Panel(title="Workspaces", description="By shard and phase.", unit="short",
                  queries=(Query(f"sum by (shard, phase) (kcp_workspaces{{{SOME}}})", "{{shard}} {{phase}}"),)),
            Panel(title="Version", description="Versions of the kube-apiservers.", unit="short", stat=True,
                  queries=(Query(f"sum by (shard, version) (kcp_shard_info{{{SOME}}})", "{{shard}} {{version}}"),)),
            Panel(title="Answers begin after", description="Mean time that the proxy waits for the shard.", unit="s",
                  queries=(mean("kcp_proxy_shard_duration_seconds", "{{shard}}", SOME, "shard"),)),
            Panel(title="Requests through the proxy", description="Per second.", unit="reqps",
                  queries=(Query(rate("kcp_proxy_responses_total", "shard", SOME), "{{shard}}"),)),
            Panel(title="Not answered", description="Requests that a shard did not answer, by what its connection did.",
                  unit="reqps", queries=(Query(rate("kcp_proxy_shard_failures_total", "shard, reason", SOME),
                                               "{{shard}} {{reason}}"),)),
        )),
        Row("kube-apiserver", (
            Panel(title="CPU", description="CPU seconds per second.", unit="short",
                  queries=(Query(f"sum by (shard) (rate(kcp_shard_cpu_seconds_total{{{SOME}}}[5m]))", "{{shard}}"),)),
            Panel(title="Memory", description="Resident memory.", unit="bytes",
                  queries=(Query(f"sum by (shard) (kcp_shard_resident_memory_bytes{{{SOME}}})", "{{shard}}"),)),
            Panel(title="In flight", description="Short requests, and watches and the like.", unit="short",
                  queries=(Query(f"sum by (shard) (kcp_shard_requests_in_flight{{{SOME}}})", "{{shard}} short"),
                           Query(f"sum by (shard) (kcp_shard_long_requests{{{SOME}}})", "{{shard}} long"))),
        )),
        Row("etcd", (
            Panel(title="Size", description="Of its database.", unit="bytes",
                  queries=(Query(f"max by (shard) (kcp_shard_storage_bytes{{{SOME}}})", "{{shard}}"),)),
            Panel(title="Share of the quota", description="At 1 a shard takes no more writes.", unit="percentunit",
                  thresholds=limits(0.6, 0.8),
                  queries=(Query(f"max by (shard) (kcp_shard_storage_bytes{{{SOME}}}) / "
                                 f"max by (shard) (kcp_shard_storage_quota_bytes{{{SOME}}})", "{{shard}}"),)),
            Panel(title="Objects", description="As the kube-apiserver counts them, once a minute.", unit="short",
                  queries=(Query(f"max by (shard) (kcp_shard_objects{{{SOME}}})", "{{shard}}"),)),
        )),
        Row("Controllers", (
            Panel(title="Queues", description="Keys that wait for a controller or are worked on.", unit="short",
                  queries=(Query("sum by (name) (kcp_workqueue_depth)", "{{name}}"),)),
            Panel(title="Retries", description="Reconciliations that failed and are tried again, per second.",
                  unit="ops", queries=(Query(rate("kcp_workqueue_retries_total", "name"), "{{name}}"),)),
            Panel(title="Work", description="Mean duration of a reconciliation since the start.", unit="s",
                  queries=(Query("sum by (name) (kcp_workqueue_work_duration_seconds_sum) / "
                                 "(sum by (name) (kcp_workqueue_work_duration_seconds_count) > 0)", "{{name}}"),)),
        )),
    ),
)  # fmt: skip

SYNCING = Board(
    name="syncing",
    title="Syncing",
    description="Physical clusters: who is there, how far syncing lags both ways, what is stuck.",
    variables=(SHARDS,),
    rows=(
        Row("Clusters", (
            Panel(title="By state", description="Ready: its syncer was heard of within a minute.", unit="short",
                  queries=(Query(f"sum by (state) (kcp_workload_clusters{{{SOME}}})", "{{state}}"),)),
            Panel(title="Oldest heartbeat", description="Time since the last sign of the most silent syncer.", unit="s",
                  thresholds=limits(40, 60),
                  queries=(Query(f"max by (shard) (kcp_workload_cluster_heartbeat_age_seconds{{{SOME}}})",
                                 "{{shard}}"),)),
            Panel(title="Heard of within", description="Clusters by the age of their last heartbeat, in seconds.",
                  unit="short",
                  queries=(Query(f"sum by (within) (kcp_workload_clusters_by_heartbeat_age{{{SOME}}})",
                                 "{{within}} s"),)),
        )),
        Row("Syncers", (
            Panel(title="Lag", description="90 of 100 changes are on the other side within; down: specs, up: status.",
                  unit="s", thresholds=limits(5, 60),
                  queries=(Query("histogram_quantile(0.9, sum by (le, direction) (kcp_syncer_lag_seconds_bucket))",
                                 "{{direction}}, since the start"),)),
            Panel(title="Synced", description="Changes that arrived on the other side, per second.", unit="ops",
                  queries=(Query(rate("kcp_syncer_lag_seconds_count", "direction, resource"),
                                 "{{direction}} {{resource}}"),)),
            Panel(title="Oldest change", description="Age of the oldest change that is not on the other side yet.",
                  unit="s", thresholds=limits(60, 300),
                  queries=(Query("max by (resource) (kcp_syncer_oldest_pending_seconds)", "{{resource}}"),)),
            Panel(title="Objects", description="That stand on clusters as they are asked for.", unit="short",
                  queries=(Query("sum by (resource) (kcp_syncer_objects)", "{{resource}}"),)),
            Panel(title="Queues", description="Objects that wait or are worked on.", unit="short",
                  queries=(Query("sum by (resource) (kcp_syncer_queue_depth)", "{{resource}}"),)),
            Panel(title="Retries and lost events", description="Attempts that failed; Events that were not written.",
                  unit="ops", queries=(Query(rate("kcp_syncer_retries_total") + " or vector(0)", "retries"),
                                       Query(rate("kcp_syncer_events_dropped_total"), "events"))),
            Panel(title="Requests", description="Of syncers, to the workspace (above) and the cluster (below).",
                  unit="reqps", queries=(Query(rate("kcp_syncer_requests_total", "side, code"), "{{side}} {{code}}"),)),
            Panel(title="Connected", description="1 while all watches of a side are open, of every syncer.",
                  unit="short", thresholds=wanted(1),
                  queries=(Query("min by (side) (kcp_syncer_connected)", "{{side}}"),)),
            Panel(title="Conflicts", description="Objects whose place below is taken by somebody else's.",
                  unit="short", thresholds=limits(1, 10),
                  queries=(Query("sum by (resource) (kcp_syncer_conflicts)", "{{resource}}"),)),
        )),
        Row("APIs and namespaces", (
            Panel(title="Synced resources", description="API resources that clusters sync, added up.", unit="short",
                  queries=(Query(f"sum by (shard) (kcp_workload_cluster_resources{{{SOME}}})", "{{shard}}"),)),
            Panel(title="Imports and placements", description="Decisions per second: imported APIs, namespaces.",
                  unit="ops", queries=(Query(rate("kcp_workqueue_adds_total", "name",
                                                  'name=~"API imports|namespaces|workload clusters"'), "{{name}}"),)),
            Panel(title="That failed", description="Of these, those that are tried again.", unit="ops",
                  queries=(Query(rate("kcp_workqueue_retries_total", "name",
                                      'name=~"API imports|namespaces|workload clusters"'), "{{name}}"),)),
        )),
    ),
)  # fmt: skip

BOARDS = (OVERVIEW, WORKSPACE, PROXY, SHARD, SYNCING)
