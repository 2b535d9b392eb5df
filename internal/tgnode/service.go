package tgnode

// Service is one of the servers behind a node's port.
type Service uint8

// The services of a node. All stands for the whole machine, its nginx and the
// static files included.
const (
	Static Service = iota // files that nginx serves itself
	GUI                   // application server: GraphStudio, Admin Portal
	GSQL
	RESTPP
	Informant
	All
)

var serviceNames = [...]string{"static", "gui", "gsql", "restpp", "informant", "all"}

// String returns the name of the service in lower case.
func (s Service) String() string {
	if int(s) < len(serviceNames) {
		return serviceNames[s]
	}
	return "unknown"
}
