// Package spelling finds the word that somebody meant, and names some of many.
package spelling

import (
	"fmt"
	"strings"
)

// Nearest returns the one of several words that a misspelt one is most likely meant to be,
// or "" if none is near: a slip is a letter that is wrong, missing, surplus or in its
// neighbour's place, and there may be one in three letters, and two in all.
func Nearest(word string, words []string) string {
	word = strings.ToLower(word)
	nearest, fewest := "", min(2, (len(word)+1)/3)
	for _, candidate := range words {
		if slips := distance(word, candidate); slips <= fewest && (nearest == "" || slips < fewest) {
			nearest, fewest = candidate, slips
		}
	}
	return nearest
}

// Hint asks whether a word was meant that is near to a misspelt one, or else says what
// was expected.
func Hint(word string, words []string, expected string) string {
	if meant := Nearest(word, words); meant != "" {
		return fmt.Sprintf("did you mean '%s'?", meant)
	}
	return expected
}

// distance returns how many slips lie between two words.
func distance(from, to string) int {
	before, last, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(from) {
		row[0] = i + 1
		for j := range len(to) {
			wrong := 1
			if from[i] == to[j] {
				wrong = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+wrong)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(to)]
}

// mostNamed is how many names a message holds.
const mostNamed = 20

// List names what there is to choose from, but not a thousand of them.
func List(names []string) string {
	if more := len(names) - mostNamed; more > 1 {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:mostNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}
