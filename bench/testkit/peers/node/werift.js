// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on werift-dtls.

const {DtlsClient} = require("werift-dtls/lib/dtls/src");
const {UdpTransport} = require("werift-dtls/lib/common/src/transport");
const {address, port, converse, receive, fail} = require("./common.js");

async function main() {
	const transport = await UdpTransport.init("udp4");
	transport.rinfo = {address, port}; // whom it sends to
	const client = new DtlsClient({transport});
	client.onConnect.subscribe(() => converse((line) => client.send(line), () => client.close()));
	client.onData.subscribe(receive);
	client.onError.subscribe(fail);
	client.onClose.subscribe(() => fail("closed"));
	await client.connect();
}

main().catch(fail);
