"""The chart, the plain manifests, the board, the alerts and the Dockerfile, without a cluster: rendered, held against the
schemas of Kubernetes with unknown fields refused, and against each other. Run by run_deploy.py."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

from custom_kinds import CUSTOM, pods_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "foregate"
SETS = {"as it is": {}, **{path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*.yaml"))}}
OVERLAYS = ("base", "cuda", "offload")
KUBERNETES = ("1.33.0", "1.37.0")  # the oldest and the newest of the schemas


def rendered(values):
    made = Chart.load(CHART).render(values, name="demo", namespace="serving")
    return [one for path, text in made.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def kustomized(name):
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / "kustomize" / name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(kind, manifests):
    return [one for one in manifests if one["kind"] == kind]


def pod_specs(manifests):
    return [one["spec"]["template"]["spec"] for one in manifests if one["kind"] in ("Deployment", "Job")] + [
        pod["spec"] for one in manifests for pod in pods_of(one)]


def server_pod(manifests):
    """The pod that has the clients."""
    return ([one["spec"]["template"] for one in of("Deployment", manifests)] +
            [one["spec"]["leaderWorkerTemplate"]["leaderTemplate"] for one in of("LeaderWorkerSet", manifests)])[0]


class Checks(unittest.TestCase):
    def check_schemas(self, manifests):
        for one in manifests:
            custom = CUSTOM.get((one["apiVersion"], one["kind"]))
            if custom:
                jsonschema.validate(one, custom)
            for version in KUBERNETES:
                for known in pods_of(one) if custom else [one]:
                    kubernetes_validate.validate(known, version, strict=True)

    def check_house(self, manifests):
        """What schemas do not see: names that must meet, rights that no container has."""
        pod, service = server_pod(manifests), of("Service", manifests)[0]
        labels = pod["metadata"]["labels"]
        if of("LeaderWorkerSet", manifests):
            labels = {**labels, "leaderworkerset.sigs.k8s.io/worker-index": "0"}  # as its controller does
        for selector in (*(one["spec"]["selector"]["matchLabels"] for one in of("Deployment", manifests)), service["spec"]["selector"],
                         *(one["spec"]["selector"]["matchLabels"] for one in of("PodDisruptionBudget", manifests)),
                         *(one["spec"]["podSelector"]["matchLabels"] for one in of("NetworkPolicy", manifests))):
            self.assertLessEqual(selector.items(), labels.items())
        for one in of("ServiceMonitor", manifests):
            self.assertLessEqual(one["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
            self.assertIn(one["spec"]["endpoints"][0]["port"], [port["name"] for port in service["spec"]["ports"]])
        server = pod["spec"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in server["ports"]}
        self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, set(ports))
        for job in of("Job", manifests):  # no service and no autoscaler may take a pod that packs for a server
            self.assertFalse(service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items())
        for spec in pod_specs(manifests):
            self.assertFalse(spec["enableServiceLinks"])  # FOREGATE_PORT of a service would become an option
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            volumes = {volume["name"] for volume in spec["volumes"]}
            for container in spec["containers"] + spec.get("initContainers", []):
                self.assertLessEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)
                rights = container["securityContext"]
                self.assertTrue(rights["readOnlyRootFilesystem"])
                self.assertFalse(rights["allowPrivilegeEscalation"])
                self.assertEqual(rights["capabilities"], {"drop": ["ALL"]})
        self.check_end(pod, server, ports, self.config(manifests))
        startup = server["startupProbe"]
        for deployment in of("Deployment", manifests):
            self.assertGreaterEqual(deployment["spec"]["progressDeadlineSeconds"], startup["periodSeconds"] * startup["failureThreshold"])

    def check_end(self, pod, server, ports, config):
        """The grace period covers the wait before SIGTERM and the drain after it; ports are those of the configuration."""
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        before = int(server["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in server else 0
        self.assertGreater(grace, before + config["shutdown_timeout"])
        self.assertEqual(ports["http"], config.get("port", 8000))
        self.assertEqual(config["host"], "0.0.0.0")
        self.assertEqual("grpc" in ports, config.get("grpc", True))
        startup = server["startupProbe"]
        self.assertEqual((startup["httpGet"]["path"], server["livenessProbe"]["httpGet"]["path"]), ("/health", "/health/live"))

    @staticmethod
    def config(manifests):
        return yaml.safe_load(of("ConfigMap", manifests)[0]["data"]["foregate.yaml"])


class Helm(Checks):
    def test_every_set_of_values_renders_to_what_kubernetes_takes(self):
        self.assertGreaterEqual(len(SETS), 9)
        for name, values in SETS.items():
            with self.subTest(name):
                manifests = rendered(values)
                self.check_schemas(manifests)
                self.check_house(manifests)

    def test_lint(self):
        for values in SETS.values():
            self.assertEqual(lint(CHART, values)["errors"], [])

    def test_schemas_refuse_a_field_that_is_unknown(self):
        group, = of("LeaderWorkerSet", rendered(SETS["ranks"]))
        group["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]["colour"] = "red"
        with self.assertRaises(kubernetes_validate.ValidationError):
            self.check_schemas([group])
        for one in rendered(SETS["keda"]) + of("LeaderWorkerSet", rendered(SETS["ranks"])):
            one["spec" if "spec" in one else "metadata"]["colour"] = "red"
            with self.assertRaises((jsonschema.ValidationError, kubernetes_validate.ValidationError), msg=one["kind"]):
                self.check_schemas([one])

    def test_wrong_values_are_refused(self):
        for wrong in ({"replica": 3}, {"device": "tpu"}, {"options": {"port": 1}}, {"options": {"maxNumSeqs": 1}},
                      {"pack": {"mode": "later"}}, {"model": {"path": "models/demo", "volume": {"type": "image"}}},
                      {"autoscaling": {"type": "hpa", "minReplicas": 0}}, {"image": {"digest": "latest"}},
                      {"metrics": {"serviceMonitor": {"enabled": True, "intervall": "1s"}}}, {"gpus": 0},
                      {"options": {"admin_api_key": "k"}}, {"options": {"ssl_certfile": "/x"}}, {"tls": {"certKey": "../x"}},
                      {"tls": {"crt": "x"}}, {"ranks": {"size": 0}}, {"ranks": {"secrets": "x"}}):
            with self.subTest(str(wrong)), self.assertRaises(Exception):
                chart = Chart.load(CHART)
                chart.validate_schema(wrong)
        for wrong, says in (({"model": {"volume": {"type": "claim"}}}, "model.volume.claim"),
                            ({"pack": {"mode": "job"}}, "pack.mode job"),
                            ({"ranks": {"size": 2}}, "ranks.secret"),
                            ({"ranks": {"size": 2, "secret": "x"}, "device": "cuda"}, "ranks.size"),
                            ({"pack": {"mode": "init", "cache": {"type": "hostPath"}}}, "pack.cache.hostPath")):
            with self.subTest(says), self.assertRaisesRegex(Exception, re.escape(says)):
                rendered(wrong)

    def test_what_values_ask_for_is_there(self):
        cuda = pod_specs(rendered(SETS["cuda"]))[0]
        self.assertEqual(cuda["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], 1)
        self.assertEqual(self.config(rendered(SETS["cuda"]))["device"], "cuda")
        offload = rendered(SETS["offload"])
        packs = pod_specs(offload)[0]["initContainers"][0]["args"]
        self.assertEqual(packs[0:3:2] + packs[3:], ["pack", self.config(offload)["model"], "--quantization", "q4_k"])
        job = rendered(SETS["pack-job"])
        self.assertEqual(of("Job", job)[0]["spec"]["template"]["spec"]["containers"][0]["args"][2], self.config(job)["model"])
        self.assertEqual(pod_specs(job)[0]["initContainers"][0]["args"], [self.config(job)["model"]])
        other = {**SETS["pack-job"], "pack": {"mode": "job", "quantization": "q4_0"}}
        self.assertNotEqual(of("Job", rendered(other))[0]["metadata"]["name"], of("Job", job)[0]["metadata"]["name"])
        keda = rendered(SETS["keda"])
        self.assertNotIn("replicas", of("Deployment", keda)[0]["spec"])
        queries = [trigger["metadata"]["query"] for trigger in of("ScaledObject", keda)[0]["spec"]["triggers"]]
        self.assertEqual(queries[0], 'sum(vllm:num_requests_waiting{namespace="serving",service="demo-foregate"})')
        secret = pod_specs(keda)[0]["containers"][0]["env"][1]
        self.assertEqual((secret["name"], secret["valueFrom"]["secretKeyRef"]["key"]), ("FOREGATE_API_KEY", "one"))
        self.assertEqual(of("NetworkPolicy", keda)[0]["spec"]["egress"], [])
        names = [metric["pods"]["metric"]["name"] for metric in of("HorizontalPodAutoscaler", rendered(SETS["hpa"]))[0]["spec"]["metrics"]]
        adapter = yaml.safe_load((DEPLOY / "prometheus" / "adapter.yaml").read_text())
        self.assertEqual(names, [rule["name"]["as"] for rule in adapter["rules"]])
        self.check_secrets(rendered(SETS["tls"]))
        ephemeral = pod_specs(rendered(SETS["ephemeral"]))[0]
        self.assertNotIn("lifecycle", ephemeral["containers"][0])
        self.assertIn("@sha256:", ephemeral["containers"][0]["image"])

    def test_ranks_are_a_group_of_pods_that_share_a_key(self):
        manifests = rendered(SETS["ranks"])
        self.assertEqual(of("Deployment", manifests), [])
        group, = of("LeaderWorkerSet", manifests)
        self.assertEqual(group["spec"]["leaderWorkerTemplate"]["size"], 4)
        self.assertNotIn("replicas", group["spec"], "the autoscaler's")
        target = of("HorizontalPodAutoscaler", manifests)[0]["spec"]["scaleTargetRef"]
        self.assertEqual(target, {key: group[key] for key in ("apiVersion", "kind")} | {"name": group["metadata"]["name"]})
        leader, worker = pod_specs(manifests)
        self.assertEqual([pod["containers"][0]["args"][0] for pod in (leader, worker)], ["run", "host"])
        for pod in (leader, worker):
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            self.assertEqual(volumes["ranks"]["secret"], {"secretName": "foregate-ranks", "defaultMode": 0o400})
            mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            script = (ROOT / "tools" / "serve_ranks").read_text()
            self.assertIn(f"RANK_KEY:-{mounts['ranks']}/ssh-privatekey", script)
            self.assertEqual(mounts["tmp"], "/tmp")
        port, = worker["containers"][0]["ports"]
        self.assertIn(f"RANK_PORT:-{port['containerPort']}", script)
        self.assertEqual([one["name"] for one in worker["containers"][0]["env"]], ["FOREGATE_HOST"], "keys of clients are rank 0's")
        self.assertEqual(of("Service", manifests)[0]["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"], "0")
        own = {"matchLabels": of("PodDisruptionBudget", manifests)[0]["spec"]["selector"]["matchLabels"]}
        policy = of("NetworkPolicy", manifests)[0]["spec"]
        for peers in (policy["ingress"][-1]["from"], policy["egress"][0]["to"]):
            self.assertEqual(peers, [{"podSelector": own}])

    def check_secrets(self, manifests):
        """Keys as variables, the certificate as files that may change, and everyone who asks a pod asks by TLS."""
        pod, config = pod_specs(manifests)[0], self.config(manifests)
        server = pod["containers"][0]
        keys = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in server["env"] if "valueFrom" in one}
        self.assertEqual(keys, {"FOREGATE_API_KEY": {"name": "foregate-keys", "key": "clients"},
                                "FOREGATE_ADMIN_API_KEY": {"name": "foregate-keys", "key": "admin"}})
        self.assertEqual([one["secret"]["secretName"] for one in pod["volumes"] if one["name"] == "tls"], ["foregate-tls"])
        mount, = [one for one in server["volumeMounts"] if one["name"] == "tls"]
        self.assertNotIn("subPath", mount)
        self.assertTrue(mount["readOnly"])
        self.assertEqual((config["ssl_certfile"], config["ssl_keyfile"]), (mount["mountPath"] + "/tls.crt", mount["mountPath"] + "/tls.key"))
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(server[probe]["httpGet"]["scheme"], "HTTPS")
        self.assertEqual(of("ServiceMonitor", manifests)[0]["spec"]["endpoints"][0]["scheme"], "https")
        self.assertEqual(of("Service", manifests)[0]["spec"]["ports"][0]["appProtocol"], "https")
        plain = rendered({})
        self.assertNotIn("ssl_certfile", self.config(plain))
        self.assertNotIn("tls", [one["name"] for one in pod_specs(plain)[0]["volumes"]])
        self.assertNotIn("scheme", pod_specs(plain)[0]["containers"][0]["readinessProbe"]["httpGet"])
        self.assertEqual([one["name"] for one in pod_specs(plain)[0]["containers"][0]["env"]], ["FOREGATE_HOST"])

    def test_the_server_takes_every_configuration(self):
        """It parses the file, then misses the model that it names."""
        with tempfile.TemporaryDirectory() as folder:
            for name, values in SETS.items():
                config = self.config(rendered(values))
                config["model"] = f"{folder}/no-model"
                path = Path(folder) / "foregate.yaml"
                path.write_text(yaml.safe_dump(config))
                done = subprocess.run([os.environ["FOREGATE_BINARY"], "serve", "--config", path], capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 2, name)
                self.assertIn("no-model does not exist", done.stderr, name)


class Kustomize(Checks):
    def test_base_is_what_the_chart_makes(self):
        done = subprocess.run([sys.executable, DEPLOY / "kustomize" / "make_base.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        manifests = list(yaml.safe_load_all((DEPLOY / "kustomize" / "base" / "foregate.yaml").read_text()))
        self.check_schemas(manifests)
        self.check_house(manifests)

    @unittest.skipUnless(shutil.which("kubectl"), "no kubectl")
    def test_overlays(self):
        for name in OVERLAYS:
            with self.subTest(name):
                manifests = kustomized(name)
                self.check_schemas(manifests)
                self.check_house(manifests)


class Monitoring(unittest.TestCase):
    def test_the_board_is_what_its_generator_writes(self):
        done = subprocess.run([sys.executable, DEPLOY / "grafana" / "make_dashboard.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_panels_do_not_overlap(self):
        panels = json.loads((DEPLOY / "grafana" / "foregate.json").read_text())["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells

    @unittest.skipUnless(shutil.which("promtool"), "no promtool")
    def test_every_expression_of_the_board_parses(self):
        panels = json.loads((DEPLOY / "grafana" / "foregate.json").read_text())["panels"]
        rules = [{"record": f"panel:{panel['id']}:{target['refId']}", "expr": re.sub(r"\$\w+", "x", target["expr"].replace("$__rate_interval", "1m"))}
                 for panel in panels for target in panel.get("targets", [])]
        self.assertGreater(len(rules), 60)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "board.yaml"
            path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
            done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool")
    def test_alerts_fire_on_what_they_are_for(self):
        done = subprocess.run(["promtool", "test", "rules", DEPLOY / "prometheus" / "alerts_test.yaml"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_alert_is_tried_and_has_a_runbook(self):
        text = (DEPLOY / "README.md").read_text()
        tried = (DEPLOY / "prometheus" / "alerts_test.yaml").read_text()
        alerts = [rule["alert"] for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
        self.assertEqual(re.findall(r"^#### (Foregate\w+)", text, re.MULTILINE), alerts)
        for alert in alerts:
            self.assertRegex(tried, rf"alertname: {alert}\b")


class Image(unittest.TestCase):
    def test_dockerfile(self):
        done = subprocess.run([Path(sys.executable).parent / "hadolint", "--ignore", "DL3006", ROOT / "Dockerfile"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    @unittest.skipUnless(shutil.which("dpkg-query"), "no dpkg")
    def test_the_bill_of_materials_has_every_package_that_the_program_needs(self):
        needed = subprocess.run([ROOT / "tools" / "needed_packages", os.environ["FOREGATE_BINARY"]], capture_output=True, text=True, check=True).stdout.split()
        self.assertGreater(len(needed), 5)
        needed.append("dpkg")  # tells the architecture
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "root"
            (root / "var/lib/dpkg").mkdir(parents=True)
            (root / "etc").mkdir()
            shutil.copy("/etc/os-release", root / "etc/os-release")
            known = [text for text in Path("/var/lib/dpkg/status").read_text().split("\n\n")
                     if re.match(r"Package: (\S+)", text) and re.match(r"Package: (\S+)", text).group(1) in needed]
            (root / "var/lib/dpkg/status").write_text("\n\n".join(known) + "\n\n")
            done = subprocess.run([ROOT / "tools" / "make_sbom", root, Path(folder) / "made"], capture_output=True, text=True,
                                  env={**os.environ, "DEBSBOM": str(Path(sys.executable).parent / "debsbom")})
            self.assertEqual(done.returncode, 0, done.stderr)
            cyclone, spdx = (json.loads((Path(folder) / f"made.{kind}.json").read_text()) for kind in ("cdx", "spdx"))
        versions = {re.search(r"^Package: (\S+)$", text, re.MULTILINE).group(1): re.search(r"^Version: (\S+)$", text, re.MULTILINE).group(1) for text in known}
        self.assertEqual(sorted(versions), sorted(needed))
        listed = {(one["name"], one["version"]) for one in cyclone["components"]}
        self.assertLessEqual(versions.items(), listed)
        self.assertLessEqual(versions.items(), {(one["name"], one.get("versionInfo")) for one in spdx["packages"]})


if __name__ == "__main__":
    unittest.main()
