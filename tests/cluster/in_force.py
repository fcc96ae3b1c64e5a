"""When a change of admission policies has taken effect. The API server learns of policies, and of bindings, by a watch
each and goes by them from the next second on; so a policy and a binding of our own, changed last, tell of all that was
changed before."""

import itertools

from simulator import wait_until

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
LABEL = "in-force"
NUMBERS = itertools.count(1)


class Marker:
    """kind: Validating or Mutating. Looks at config maps that nobody stores."""

    def __init__(self, admin, kind):
        self.admin, self.kind, self.number = admin, kind, 0
        self.name = f"in-force-{next(NUMBERS)}"
        self.policy = f"{ADMISSION}/{kind.lower()}admissionpolicies"
        self.binding = f"{ADMISSION}/{kind.lower()}admissionpolicybindings"
        admin.create(self.policy, {"metadata": {"name": self.name}, "spec": self._policy_spec()})
        admin.create(self.binding, {"metadata": {"name": self.name},
                                    "spec": {"policyName": self.name, **self._binding_spec()}})

    def remove(self):
        self.admin.delete(f"{self.binding}/{self.name}")
        self.admin.delete(f"{self.policy}/{self.name}")

    def await_all(self):
        """Returns when whatever was changed before has taken effect."""
        self.number += 1
        self.admin.patch(f"{self.policy}/{self.name}", {"spec": self._policy_spec()})
        self.admin.patch(f"{self.binding}/{self.name}", {"spec": self._binding_spec()})
        wait_until(self._seen, 10, "policies in force", 0.02)

    def _policy_spec(self):
        spec = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}}
        if self.kind == "Validating":
            return {**spec, "validations": [{"expression": "false", "message": f"marked {self.number}"}]}
        expression = f"Object{{metadata: Object.metadata{{labels: {{'{LABEL}': 'marked-{self.number}'}}}}}}"
        return {**spec, "reinvocationPolicy": "Never", "mutations": [{
            "patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}

    def _binding_spec(self):
        spec = {"matchResources": {"objectSelector": {"matchLabels": {LABEL: f"{self.name}-{self.number}"}}}}
        return {**spec, "validationActions": ["Deny"]} if self.kind == "Validating" else spec

    def _seen(self):
        reply = self.admin.ask("POST", "/api/v1/namespaces/default/configmaps?dryRun=All",
                               {"metadata": {"name": self.name, "labels": {LABEL: f"{self.name}-{self.number}"}}})
        if self.kind == "Validating":
            return reply.message.endswith(f"marked {self.number}")
        return reply.json["metadata"]["labels"][LABEL] == f"marked-{self.number}"
