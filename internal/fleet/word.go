package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Word is what the operator said at run time: which nodes drain, and which clusters
// are the active ones. Edges that share a storage share it.
type Word struct {
	// Format is that of the text, so that an edge which knows less than the others does
	// not write over what it cannot read.
	Format int `json:"format,omitempty"`
	// Version counts the changes.
	Version int64 `json:"version"`
	// Drains are the drains by the address of the node.
	Drains map[string]Drain `json:"drains,omitempty"`
	// Switches are the last ones to each cluster, by its name.
	Switches map[string]Switch `json:"switches,omitempty"`
}

// Drain says since when a node takes no new clients, and until when.
type Drain struct {
	Since time.Time `json:"since"`
	// Until is when the drain ends by itself; nil if that is when the node is said to
	// be ready.
	Until *time.Time `json:"until,omitempty"`
	ends  time.Time  // see Settle
}

// Is reports whether two drains are the same.
func (d Drain) Is(other Drain) bool {
	if d.Until == nil || other.Until == nil {
		return d.Since.Equal(other.Since) && d.Until == other.Until
	}
	return d.Since.Equal(other.Since) && d.Until.Equal(*other.Until)
}

// Switch says when a cluster was made the active one.
type Switch struct {
	Since time.Time `json:"since"`
	// Number is the version of the word that said so. Of two clusters the one that
	// was switched to last has the higher one, whatever clocks say.
	Number int64 `json:"number"`
	// DrainUntil is how long the cluster that was active before keeps its sessions;
	// nil if they ended at once.
	DrainUntil *time.Time `json:"drain_until,omitempty"`
	ends       time.Time  // see Settle
}

// Settle notes when what has been said ends, by how much time is left of it now. From
// then on the wall clock may jump. What the known word contains as well keeps the end that was noted there.
func (w Word) Settle(known Word, now time.Time) Word {
	w = w.Clone()
	for address, said := range w.Drains {
		before := known.Drains[address]
		said.ends = settled(said.Until, before.Until, before.ends, now)
		w.Drains[address] = said
	}
	for name, said := range w.Switches {
		before := known.Switches[name]
		said.ends = settled(said.DrainUntil, before.DrainUntil, before.ends, now)
		w.Switches[name] = said
	}
	return w
}

func settled(until, before *time.Time, known, now time.Time) time.Time {
	switch {
	case until == nil:
		return time.Time{}
	case before != nil && before.Equal(*until) && !known.IsZero():
		return known
	}
	return now.Add(until.Sub(now))
}

// end returns when a drain is over; zero if it does not end by itself.
func end(ends time.Time, until *time.Time) time.Time {
	if ends.IsZero() && until != nil { // it is not settled
		return *until
	}
	return ends
}

// format is the newest one that is known.
const format = 1

// mostVersions is more than anybody says, and far from where numbers end.
const mostVersions = 1 << 53

// ParseWord reads what Encode wrote.
func ParseWord(text []byte) (Word, error) {
	var read *Word
	if err := json.Unmarshal(text, &read); err != nil {
		return Word{}, malformed(err)
	}
	switch {
	case read == nil:
		return Word{}, malformed(errors.New("it is null"))
	case read.Format > format:
		return Word{}, fmt.Errorf("what the operator said has the format %d of a newer version of this plugin, and this one knows %d: update this edge", read.Format, format)
	case read.Version < 0 || read.Version > mostVersions:
		return Word{}, malformed(fmt.Errorf("its version is %d", read.Version))
	}
	for name, said := range read.Switches {
		if said.Number < 1 || said.Number > read.Version {
			return Word{}, malformed(fmt.Errorf("the switch to %q has the number %d", name, said.Number))
		}
	}
	return *read, nil
}

// malformed says what to do about a text that makes no sense. Edges that run know
// what it said, and write it anew.
func malformed(err error) error {
	return fmt.Errorf("what the operator said is not well-formed: %w; remove the file, and give the command again", err)
}

// Encode returns the word as it is stored.
func (w Word) Encode() ([]byte, error) {
	w.Format = format
	text, err := json.MarshalIndent(w, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encoding what the operator said: %w", err)
	}
	return append(text, '\n'), nil
}

// Clone returns a copy that can be changed.
func (w Word) Clone() Word {
	w.Drains, w.Switches = maps.Clone(w.Drains), maps.Clone(w.Switches)
	return w
}

// Drained returns the word with a drain of a node, for so long or, if that is 0,
// until it is said to be ready.
func (w Word) Drained(address string, duration time.Duration, now time.Time) Word {
	w = w.next(now)
	drain := Drain{Since: now.UTC().Round(0)}
	if duration > 0 {
		until := drain.Since.Add(duration)
		drain.Until = &until
	}
	if w.Drains == nil {
		w.Drains = make(map[string]Drain)
	}
	w.Drains[address] = drain
	return w
}

// Ready returns the word without a drain of a node.
func (w Word) Ready(address string, now time.Time) Word {
	w = w.next(now)
	delete(w.Drains, address)
	return w
}

// Switched returns the word with a cluster as the active one. The one that was active
// before keeps its sessions for so long; a drain of an earlier switch ends.
func (w Word) Switched(cluster string, drain time.Duration, now time.Time) Word {
	w = w.next(now)
	said := Switch{Since: now.UTC().Round(0), Number: w.Version}
	if drain > 0 {
		until := said.Since.Add(drain)
		said.DrainUntil = &until
	}
	if w.Switches == nil {
		w.Switches = make(map[string]Switch)
	}
	w.Switches[cluster] = said
	return w
}

// Redrained returns the word with another end of the drain that a switch to a cluster,
// the active one, began; 0 is at once. It never begins a drain: the sessions of the
// cluster before have ended.
func (w Word) Redrained(cluster string, drain time.Duration, now time.Time) Word {
	w = w.next(now)
	said := w.Switches[cluster]
	if said.DrainUntil == nil || !now.Before(*said.DrainUntil) {
		return w
	}
	said.DrainUntil = nil
	if drain > 0 {
		until := now.UTC().Round(0).Add(drain)
		said.DrainUntil = &until
	}
	w.Switches[cluster] = said
	return w
}

// next returns a copy of the next version, without the drains that are over.
func (w Word) next(now time.Time) Word {
	w = w.Clone()
	w.Version++
	maps.DeleteFunc(w.Drains, func(_ string, d Drain) bool { return d.Until != nil && !now.Before(end(d.ends, d.Until)) })
	return w
}

// Active says which of some clusters is the active one, by their indexes: the one that
// was switched to last, or the first if there was no switch. Kept is the one that was
// active before and keeps its sessions, -1 if none does, and until when.
func (w Word) Active(names []string, now time.Time) (active, kept int, until time.Time) {
	active, kept = 0, -1
	var last, before int64
	previous := -1
	for i, name := range names {
		said, switched := w.Switches[name]
		switch {
		case !switched:
		case said.Number > last:
			if last > 0 {
				previous, before = active, last
			}
			active, last = i, said.Number
		case said.Number > before:
			previous, before = i, said.Number
		}
	}
	if last == 0 {
		return 0, -1, time.Time{}
	}
	if previous < 0 {
		previous = 0 // the first was active without being switched to
	}
	said := w.Switches[names[active]]
	if end := end(said.ends, said.DrainUntil); now.Before(end) && previous != active {
		kept, until = previous, end
	}
	return active, kept, until
}
