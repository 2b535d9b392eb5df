package tgnode

import (
	"net/http"
	"testing"
)

func TestTheInformantsMayBeDeadBehindALivingGUI(t *testing.T) {
	node := startNode(t, Options{})
	node.SetFault(Informant, Fault{Mode: Dead})
	for path, want := range map[string]int{
		"/informant/metrics": http.StatusBadGateway, "/api/ping": http.StatusOK, "/restpp/echo": http.StatusOK,
	} {
		response, err := http.Get("http://" + node.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestRefusalsArePagesOfNginx(t *testing.T) {
	node := startNode(t, Options{})
	for _, refusal := range Refusals() {
		node.SetFault(RESTPP, refusal.Fault)
		response, err := http.Get("http://" + node.Addr() + "/restpp/echo")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != refusal.Status || response.Header.Get("Server") != "nginx" {
			t.Errorf("%s: %d by %q", refusal.Name, response.StatusCode, response.Header.Get("Server"))
		}
	}
}
