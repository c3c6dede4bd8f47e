package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
)

const metricsPort = 6052

// operatorKinds are the Prometheus operator's, as far as an API server needs them to take the
// chart's objects.
func operatorKinds() string {
	var text strings.Builder
	for plural, kind := range map[string]string{"servicemonitors": "ServiceMonitor", "prometheusrules": "PrometheusRule"} {
		_, _ = fmt.Fprintf(&text, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: %[1]s, kind: %[2]s, listKind: %[2]sList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
`, plural, kind)
	}
	return text.String()
}

func metrics(l *lab) (string, error) {
	if _, err := l.apply(operatorKinds(), "apply", "-f", "-"); err != nil {
		return "", err
	}
	err := l.withOperator()
	if _, deleteErr := l.apply(operatorKinds(), "delete", "-f", "-"); err != nil || deleteErr != nil {
		return "", errors.Join(err, deleteErr)
	}
	for _, n := range l.nodes {
		if text, err := l.scrape(n); err == nil {
			return "", fmt.Errorf("%s still answers at its address: %.100s", n.name, text)
		}
	}
	return "each node's metrics at its own address, ready by probes there; ServiceMonitor and rules are taken; on loopback again afterwards", nil
}

// withOperator has the metrics exposed, and looks at what a Prometheus would find.
func (l *lab) withOperator() error {
	if _, err := l.kubectl("wait", "--for=condition=Established", "--timeout="+patience.String(),
		"crd/servicemonitors.monitoring.coreos.com", "crd/prometheusrules.monitoring.coreos.com"); err != nil {
		return err
	}
	return l.with(`, "metrics": {"exposed": true, "serviceMonitor": {"enabled": true}, "rules": {"enabled": true}}`, func() error {
		for _, n := range l.nodes {
			if err := errors.Join(l.awaitMirror(n), l.awaitScrape(n)); err != nil {
				return err
			}
		}
		found, err := l.kubectl("-n", namespace, "get", "servicemonitor/shoal", "prometheusrule/shoal", "-o", "name")
		if err != nil {
			return err
		}
		if len(strings.Fields(found)) != 2 {
			return fmt.Errorf("of the operator's objects there are %q", found)
		}
		return l.eventually("the Service to name both nodes", l.findsTargets)
	})
}

// findsTargets fails unless a ServiceMonitor would find every node's metrics, and nothing else.
func (l *lab) findsTargets() error {
	var service struct {
		Items []struct {
			Ports []struct {
				Name string `json:"name"`
				Port int    `json:"port"`
			} `json:"ports"`
			Endpoints []struct {
				Addresses []string `json:"addresses"`
			} `json:"endpoints"`
		} `json:"items"`
	}
	if err := l.object(&service, "-n", namespace, "endpointslices", "-l", "kubernetes.io/service-name=shoal"); err != nil {
		return err
	}
	found, want := map[string]bool{}, map[string]bool{}
	for _, s := range service.Items {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints {
				if p.Name == "metrics" {
					found[fmt.Sprint(e.Addresses, p.Port)] = true
				}
			}
		}
	}
	for _, n := range l.nodes {
		want[fmt.Sprint([]string{n.address()}, metricsPort)] = true
	}
	if !maps.Equal(found, want) {
		return fmt.Errorf("it names %v", found)
	}
	return nil
}

// awaitScrape waits until a node's metrics say that it is a member among two.
func (l *lab) awaitScrape(n *node) error {
	return l.eventually("the metrics of "+n.name, func() error {
		text, err := l.scrape(n)
		if err != nil {
			return err
		}
		for _, want := range []string{"\nshoal_members 1\n", "\nshoal_status_answered 1\n", "\nshoal_containerd_mirror_effective 1\n"} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("no %q among its metrics", want)
			}
		}
		return nil
	})
}

// scrape is what a node answers at its own address.
func (l *lab) scrape(n *node) (string, error) {
	answer, err := l.get(fmt.Sprintf("http://%s:%d/metrics", n.address(), metricsPort))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, mib))
	if answer.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(answer.Status))
	}
	return string(text), errors.Join(err, answer.Body.Close())
}
