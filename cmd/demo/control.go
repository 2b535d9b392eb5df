package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// control is the server behind /demo/: it tells the page about the nodes, stops and
// starts them, and switches between their clusters.
type control struct {
	listener net.Listener
	server   *http.Server
}

func serveControl(nodes *fleet, switchTo func(cluster string) error) (*control, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the page's buttons: %w", err)
	}
	c := &control{
		listener: listener,
		server:   &http.Server{Handler: controlHandler(nodes, switchTo), ReadHeaderTimeout: 10 * time.Second},
	}
	go func() { _ = c.server.Serve(listener) }() // until close
	return c, nil
}

func (c *control) address() string { return c.listener.Addr().String() }

func (c *control) close() { _ = c.server.Close() }

func controlHandler(nodes *fleet, switchTo func(cluster string) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /demo/nodes", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, nodes.status())
	})
	act := func(pattern string, action func(name string) (nodeStatus, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, err := action(r.PathValue("name"))
			var unknown *unknownNodeError
			switch {
			case errors.As(err, &unknown):
				refuse(w, http.StatusNotFound, err.Error())
			case err != nil:
				refuse(w, http.StatusInternalServerError, err.Error())
			default:
				respond(w, http.StatusOK, status)
			}
		})
	}
	act("POST /demo/nodes/{name}/stop", nodes.stop)
	act("POST /demo/nodes/{name}/start", nodes.start)

	mux.HandleFunc("POST /demo/clusters/{name}/switch", func(w http.ResponseWriter, r *http.Request) {
		if err := switchTo(r.PathValue("name")); err != nil {
			refuse(w, http.StatusBadGateway, err.Error())
			return
		}
		respond(w, http.StatusOK, nodes.status())
	})

	// Any site that the browser visits could post to localhost; only the demo's
	// own page shall stop nodes.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "refused: the request comes from another site's page")
	}))
	return sameOrigin.Handler(mux)
}

func refuse(w http.ResponseWriter, status int, message string) {
	respond(w, status, map[string]string{"error": message})
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the page asks again
}
