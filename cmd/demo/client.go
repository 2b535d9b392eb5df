package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	queryCount  = 60
	queriesOnce = 6 // at a time
	queryPath   = "/restpp/query/MyGraph/friends"

	// clientPatience bounds one request.
	clientPatience = 30 * time.Second
)

// client is an application that uses the edge, and the operator who tells it what to do.
type client struct {
	edge, admin string
	authorities *x509.CertPool
	nodes       *fleet
	out         *terminal
}

// query sends queries without a login, as an application would, and tells which nodes
// answered.
func (c *client) query() error {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.authorities, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	application := &http.Client{Transport: transport, Timeout: clientPatience}

	var (
		mu       sync.Mutex
		answered = make(map[string]int) // by address
		failures []error
		workers  sync.WaitGroup
	)
	for range queriesOnce {
		workers.Go(func() {
			for range queryCount / queriesOnce {
				address, err := ask(application, c.edge+queryPath)
				mu.Lock()
				if err != nil {
					failures = append(failures, err)
				} else {
					answered[address]++
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()

	var counts []string
	for _, n := range c.nodes.status() {
		if count := answered[n.Address]; n.Active || count > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", n.Name, count))
		}
	}
	if len(failures) > 0 {
		counts = append(counts, fmt.Sprintf("none %d", len(failures)))
	}
	c.out.event("%d queries of one client were answered by: %s", queryCount, strings.Join(counts, ", "))
	if len(failures) > 0 {
		return failures[0]
	}
	return nil
}

// ask sends one query, and returns the address of the node that answered.
func ask(application *http.Client, url string) (address string, err error) {
	response, err := application.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("a query was answered with %s", response.Status)
	}
	return response.Header.Get("X-Served-By"), nil
}

// switchTo makes a cluster the active one, by the call that "caddy tigergraph switch"
// makes.
func (c *client) switchTo(cluster string) error {
	request, err := json.Marshal(map[string]string{"cluster": cluster})
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	// Caddy replaces its admin endpoint with each configuration.
	operator := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: clientPatience}
	response, err := operator.Post(c.admin+"/tigergraph/switch", "application/json", bytes.NewReader(request))
	if err != nil {
		return fmt.Errorf("asking the edge's admin endpoint: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var refusal struct{ Error string }
		if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil || refusal.Error == "" {
			return fmt.Errorf("the edge's admin endpoint answered %s", response.Status)
		}
		return errors.New(refusal.Error)
	}
	c.nodes.activate(cluster)
	c.out.event("%s is the active cluster; nobody is logged in there who was not before", cluster)
	return nil
}
