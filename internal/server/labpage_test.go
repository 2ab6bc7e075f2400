package server

import "testing"

func TestSplit(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "plain": 0, "就绪": 0, "就\xe7": 1, "就\xe7\xbb": 2, "\xf0\x9f\x98": 3, "\x80\x80\x80\x80": 0, "a\xff": 0,
	} {
		if got := split([]byte(text)); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
}
