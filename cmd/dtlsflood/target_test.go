package main

import (
	"net/netip"
	"strings"
	"testing"
)

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
