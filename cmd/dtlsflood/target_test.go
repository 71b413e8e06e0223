package main

import (
	"net/netip"
	"strings"
	"testing"
)

// TestStrangers: sources may be forged without confirmation if no other host uses them or they are on this network.
func TestStrangers(t *testing.T) {
	near := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("2001:db9::3/64")}
	for text, want := range map[string]bool{
		"198.18.128.0/17": false, "198.18.0.0/15": false, "2001:2:0:8000::/96": false, "203.0.113.0/24": false, "127.0.0.0/8": false,
		"10.1.2.0/25": false, "10.1.2.0/24": false, "2001:db9::/96": false,
		"8.8.8.0/24": true, "10.1.0.0/16": true, "0.0.0.0/0": true, "192.168.0.0/16": true, "198.16.0.0/14": true, "2001:db9::/32": true,
	} {
		if got := strangers(netip.MustParsePrefix(text), near); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestNotUnicast(t *testing.T) {
	networks := []netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.4.2/22"), netip.MustParsePrefix("198.18.9.0/31"),
		netip.MustParsePrefix("198.18.10.1/32"), netip.MustParsePrefix("2001:2::1/64"),
	}
	for a, want := range map[string]string{
		"198.18.0.255": "198.18.0.0/24", "198.18.0.0": "198.18.0.0/24", "198.18.7.255": "198.18.4.0/22", "255.255.255.255": "broadcast",
		"239.1.1.1": "multicast", "ff0e::1": "multicast", "::": "is not an address", "0.0.0.0": "is not an address",
		"198.18.0.1": "", "198.18.4.255": "", "198.18.9.0": "", "198.18.9.1": "", "198.18.10.1": "", "2001:2::": "", "2001:2::ffff:ffff:ffff:ffff": "",
	} {
		if why := notUnicast(netip.MustParseAddr(a), networks); !strings.Contains(why, want) || (why == "") != (want == "") {
			t.Errorf("%s: %q, want %q", a, why, want)
		}
	}
}
