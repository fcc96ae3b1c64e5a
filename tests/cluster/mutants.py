"""What the chart's rights and policies would be with one thing missing: a right, a rule, an expression or part of one,
a selector, a binding. Made from the objects themselves, so that what is added to the chart is missed here too."""

import copy
import dataclasses
import re

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
COLLECTIONS = {
    f"{RBAC}/clusterroles": "ClusterRole", f"{RBAC}/clusterrolebindings": "ClusterRoleBinding",
    f"{RBAC}/roles": "Role", f"{RBAC}/rolebindings": "RoleBinding",
    f"{ADMISSION}/validatingadmissionpolicies": "ValidatingAdmissionPolicy",
    f"{ADMISSION}/validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    f"{ADMISSION}/mutatingadmissionpolicies": "MutatingAdmissionPolicy",
    f"{ADMISSION}/mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding"}


@dataclasses.dataclass
class Mutant:
    path: str  # of the object
    missing: str  # for people
    changed: dict | None  # its rules, subjects or spec in place of what they are; None: the whole object is missing
    original: dict
    entry: dict | None = None  # of a policy: the validation, mutation or condition it is about

    def apply(self, api):
        if self.changed is None:
            api.delete(self.path)
        else:
            api.patch(self.path, self.changed)

    def undo(self, api):
        if self.changed is None:
            body = copy.deepcopy(self.original)
            for field in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
                body["metadata"].pop(field, None)
            api.create(self.path.rsplit("/", 1)[0], body)
        else:
            api.patch(self.path, {field: self.original[field] for field in self.changed})

    def __str__(self):
        return f"{self.original['kind']} {self.original['metadata']['name']}: {self.missing}"


def objects_of(api, release):
    """(path, object) of all the objects of a release that say who may do what."""
    found = []
    for collection, kind in COLLECTIONS.items():
        query = f"?labelSelector=app.kubernetes.io%2Finstance%3D{release}"
        for item in api.get(collection + query)["items"]:
            group, plural = collection.removeprefix("/apis/").rsplit("/", 1)
            where = f"/namespaces/{item['metadata']['namespace']}" if "namespace" in item["metadata"] else ""
            found.append((f"/apis/{group}{where}/{plural}/{item['metadata']['name']}",
                          {"apiVersion": group, "kind": kind, **item}))
    return found


def mutants_of(path, body):
    yield from {"ClusterRole": _roles, "ClusterRoleBinding": _role_bindings,
                "Role": _roles, "RoleBinding": _role_bindings,
                "ValidatingAdmissionPolicy": _policies, "MutatingAdmissionPolicy": _policies,
                "ValidatingAdmissionPolicyBinding": _policy_bindings,
                "MutatingAdmissionPolicyBinding": _policy_bindings}[body["kind"]](path, body)


# Rights

def rights_of(role):
    """Each (API group, resource, verb) of a role."""
    for rule in role["rules"]:
        assert not rule.get("nonResourceURLs"), f"not understood here: {rule}"
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb


def _roles(path, body):
    for i, rule in enumerate(body["rules"]):
        single = [{**rule, "apiGroups": [group], "resources": [resource], "verbs": [verb]}
                  for group, resource, verb in rights_of({"rules": [rule]})]
        for missing in single:
            rules = body["rules"][:i] + [one for one in single if one != missing] + body["rules"][i + 1:]
            what = "no {verbs[0]} on {resources[0]} ({apiGroups[0]})".format(**missing)
            yield Mutant(path, what, {"rules": rules}, body)


def _role_bindings(path, body):
    for subject in body["subjects"]:
        yield Mutant(path, f"not for {subject['kind']} {subject['name']}",
                     {"subjects": [s for s in body["subjects"] if s != subject]}, body)


# Policies

def _policies(path, body):
    spec = body["spec"]

    def without(missing, entry=None, **changes):
        return Mutant(path, missing, {"spec": {**copy.deepcopy(spec), **changes}}, body, entry)

    for field in ("matchConditions", "validations", "mutations"):
        entries = spec.get(field, [])
        for i, entry in enumerate(entries):
            others = entries[:i] + entries[i + 1:]
            if others or field == "matchConditions":
                yield without(f"{field}[{i}] gone", entry, **{field: others})
            else:  # a policy needs one
                yield Mutant(path, f"{field}[{i}] gone, and so the policy", None, body, entry)
            for expression, weakened in expressions_in(entry):
                for missing, text in weaker(expression):
                    yield without(f"{field}[{i}] {missing}", entry,
                                  **{field: entries[:i] + [weakened(text)] + entries[i + 1:]})
            if "message" in entry:
                silent = {k: v for k, v in entry.items() if k != "message"}
                yield without(f"{field}[{i}] without its message", entry,
                              **{field: entries[:i] + [silent] + entries[i + 1:]})
    if spec.get("reinvocationPolicy") == "IfNeeded":
        yield without("no reinvocation", reinvocationPolicy="Never")


def expressions_in(entry):
    """The CEL texts of a matchCondition, validation or mutation, each with what puts another in its place."""
    if "expression" in entry:
        yield entry["expression"], lambda text: {**entry, "expression": text}
    for field in ("applyConfiguration", "jsonPatch"):
        if field in entry:
            yield entry[field]["expression"], lambda text, field=field: {**entry, field: {"expression": text}}


def _policy_bindings(path, body):
    spec = body["spec"]
    yield Mutant(path, "gone", None, body)
    for selector, value in spec.get("matchResources", {}).items():
        if selector in ("namespaceSelector", "objectSelector") and value:
            yield Mutant(path, f"matches whatever the {selector} excluded",
                         {"spec": {"matchResources": {selector: None}}}, body)
    if spec.get("validationActions") == ["Deny"]:
        yield Mutant(path, "only told in the audit log", {"spec": {"validationActions": ["Audit"]}}, body)
    if spec.get("paramRef", {}).get("parameterNotFoundAction") == "Allow":
        yield Mutant(path, "denies what has no parameter",
                     {"spec": {"paramRef": {**spec["paramRef"], "parameterNotFoundAction": "Deny"}}}, body)


# CEL

def weaker(text):
    """(what is missing, the text without it) for each operand of &&, || and +, and for each branch of ?: in a CEL
    expression, however deep."""
    seen = set()
    for begin, end in segments(text):
        for part_begin, part_end, replacement in droppable(text, begin, end):
            changed = text[:part_begin] + replacement + text[part_end:]
            if changed not in seen:
                seen.add(changed)
                what = " ".join(text[part_begin:part_end].split())
                kept = " ".join(replacement.split())
                yield f"with nothing but `{kept[:60]}` of `{what[:60]}`" if kept else f"without `{what[:100]}`", changed


def marks(text):
    """(position, character, depth) of all that is outside of string literals."""
    depth, quote, i = 0, None, 0
    while i < len(text):
        c = text[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = None
        elif c in "'\"":
            quote = c
        else:
            if c in ")]}":
                depth -= 1
            yield i, c, depth
            if c in "([{":
                depth += 1
        i += 1


def segments(text):
    """[begin, end) of each stretch that stands by itself: between brackets, commas, and the colons of fields."""
    open_at, stretches = {0: 0}, []
    for i, c, depth in marks(text):
        if c in "([{":
            open_at[depth + 1] = i + 1
        elif c in ")]}":
            stretches.append((open_at.pop(depth + 1), i))
        elif c == "," or (c == ":" and re.match(r"\s*[\w.]+\s*$", text[open_at[depth]:i])):
            stretches.append((open_at[depth], i))
            open_at[depth] = i + 1
    return stretches + [(open_at[0], len(text))]


AND, OR, PLUS = re.compile(r"&&"), re.compile(r"\|\|"), re.compile(r"\+")
THEN, ELSE = re.compile(r"\s\?\s"), re.compile(r"\s:\s")  # unlike `.?field`, `[?key]` and `field: value`


def split(text, begin, end, operator):
    """The [begin, end) of what an operator at the top of a segment separates."""
    inner = [(i, depth) for i, c, depth in marks(text) if begin <= i < end]
    if not inner:
        return [(begin, end)]
    top, parts, start = min(depth for _, depth in inner), [], begin
    for i, depth in inner:
        found = depth == top and i >= start and operator.match(text, i, end)
        if found:
            parts.append((start, i))
            start = found.end()
    return [*parts, (start, end)]


def droppable(text, begin, end):
    """(begin, end, replacement) of the parts of a segment that can be left out."""
    condition = split(text, begin, end, THEN)
    if len(condition) > 1:
        yes, *_ = split(text, condition[1][0], end, ELSE)
        no = (ELSE.match(text, yes[1]).end(), end)
        for kept in (yes, no):
            yield begin, end, f"({text[slice(*kept)].strip()})"
        for part in (condition[0], yes, no):
            yield from droppable(text, *part)
        return
    parts = [(begin, end)]
    for operator in (OR, AND, PLUS):  # from the weakest to the strongest
        found = [split(text, *part, operator) for part in parts]
        for operands in found:
            for i, operand in enumerate(operands if len(operands) > 1 else []):
                # with the operator that joins it to the others
                yield (operands[i - 1][1], operand[1], "") if i else (operand[0], operands[1][0], "")
        parts = [operand for operands in found for operand in operands]
