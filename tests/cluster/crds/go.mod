// Custom resource definitions that the chart's objects must be valid for. No Go of these is built: only their YAML is
// read, see crds.py.
module credlet.io/tests/cluster/crds

go 1.26

require (
	github.com/cilium/cilium v1.18.0
	github.com/openshift/api v0.0.0-20260420151639-34e60874783e
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
