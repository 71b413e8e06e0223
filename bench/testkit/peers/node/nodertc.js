// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on @nodertc/dtls, with a pre-shared key: with certificates OpenSSL 3 accepts none of its signature algorithms.

const dtls = require("@nodertc/dtls");
const {address, port, converse, receive, fail} = require("./common.js");

const socket = dtls.connect({
	type: "udp4", remoteAddress: address, remotePort: port,
	pskIdentity: "me", pskSecret: "key-for-tests", cipherSuites: ["TLS_PSK_WITH_AES_128_GCM_SHA256"],
});
socket.once("connect", () => converse((line) => socket.write(line), () => socket.close()));
socket.on("data", receive);
socket.once("error", fail);
socket.once("timeout", () => fail("timeout"));
