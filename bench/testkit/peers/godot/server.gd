# SPDX-License-Identifier: Apache-2.0
# Copyright The dtlsguard Authors

# A DTLS server on Godot 3, as the documentation of DTLSServer has it: it echoes.
#
#     godot3-server -s server.gd ADDRESS PORT CERTIFICATE KEY
extends SceneTree

# printerr, because what print writes stays in a buffer until the end.

var udp := UDPServer.new()
var dtls := DTLSServer.new()
var peers := []
var accepted := []

func _init():
	var args := Array(OS.get_cmdline_args())
	args = args.slice(args.size() - 4, args.size() - 1)
	var key := CryptoKey.new()
	var certificate := X509Certificate.new()
	if key.load(args[3]) != OK or certificate.load(args[2]) != OK or dtls.setup(key, certificate) != OK:
		printerr("certificate")
		quit(1)
	if udp.listen(int(args[1]), args[0]) != OK:
		printerr("listen")
		quit(1)
	printerr("listening")

func _idle(_delta):
	udp.poll()
	while udp.is_connection_available():
		var peer = dtls.take_connection(udp.take_connection())
		if peer.get_status() == PacketPeerDTLS.STATUS_HANDSHAKING: # else it has been asked for a cookie
			peers.append(peer)
	for p in peers.duplicate():
		p.poll()
		match p.get_status():
			PacketPeerDTLS.STATUS_HANDSHAKING:
				pass
			PacketPeerDTLS.STATUS_CONNECTED:
				if not p in accepted:
					accepted.append(p)
					printerr("accepted")
				while p.get_available_packet_count() > 0:
					p.put_packet(p.get_packet())
			_:
				if p in accepted:
					printerr("closed")
				accepted.erase(p)
				peers.erase(p)
	return false
