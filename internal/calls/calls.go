// Package calls has those of the admin endpoint, as those who make them and those
// who answer them see them.
package calls

// Prefix is what the paths of the calls begin with.
const Prefix = "/tigergraph/"
