// Package calls has the calls of the admin endpoint: their paths, bodies, answers and
// refusals, for the commands that make them and the module that answers them.
package calls

// Prefix is what the paths of the calls begin with.
const Prefix = "/tigergraph/"
