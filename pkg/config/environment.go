package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// variablePrefix begins the name of every environment variable that is a setting.
const variablePrefix = "SHOAL_"

// kubernetesVariable matches what the kubelet sets in every container for a Service
// whose name begins with "shoal" ("Environment variables" in Kubernetes' Service
// documentation): not settings, and not mistakes either.
const kubernetesVariable = `^SHOAL_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`

// readEnvironment picks the settings out of the variables. The values of a list are
// separated by commas; space around them is dropped, and so are empty ones.
func readEnvironment(variables map[string]string) (layer, []error) {
	byVariable := map[string]Setting{}
	for _, s := range Settings() {
		byVariable[s.Variable()] = s
	}
	injected := regexp.MustCompile(kubernetesVariable)
	l := layer{}
	var errs []error
	for _, name := range sortedKeys(variables) {
		if !strings.HasPrefix(name, variablePrefix) {
			continue
		}
		s, ok := byVariable[name]
		if !ok {
			if !injected.MatchString(name) {
				errs = append(errs, &Error{Where: environmentPlace, Key: name, Reason: unknown("variable", name, slices.Collect(maps.Keys(byVariable)))})
			}
			continue
		}
		values := []string{variables[name]}
		if s.Kind == List {
			values = splitList(variables[name])
		}
		if err := checkShape(s, values); err != nil {
			errs = append(errs, &Error{Where: environmentPlace, Key: name, Reason: err.Error()})
			continue
		}
		l[s.Key] = given{values: values, where: environmentPlace, name: name}
	}
	return l, errs
}

const environmentPlace = "environment"

func splitList(s string) []string {
	var values []string
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
