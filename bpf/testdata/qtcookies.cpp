// Prints the cookies that Qt gives clients: the golden values of qtcookies.txt, whose head says how they were made.
//
// usage: qtcookies SECRET ADDRESS PORT..., the secret in hexadecimal. The addresses must be this host's own.

#include <QCoreApplication>
#include <QDtlsClientVerifier>
#include <QUdpSocket>
#include <cstdio>
#include <cstdlib>

// A ClientHello of DTLS 1.2 without a cookie: one cipher suite, no extensions.
static QByteArray hello()
{
	QByteArray h = QByteArray::fromHex("16fefd0000000000000000"   "0036"
					   "01" "00002a" "0000" "000000" "00002a" "fefd");
	h.append(32, '\x2a'); // random
	return h + QByteArray::fromHex("0000" "0002c02b" "0100");
}

int main(int argc, char **argv)
{
	QCoreApplication app(argc, argv);
	std::printf("# Qt %s\n", qVersion());
	for (int i = 2; i + 1 < argc; i += 2) {
		const QHostAddress address{QString(argv[i])};
		const quint16 port = std::atoi(argv[i + 1]);
		QUdpSocket server, client;
		QDtlsClientVerifier verifier;
		QDtlsClientVerifier::GeneratorParameters p{QCryptographicHash::Sha256, QByteArray::fromHex(argv[1])};
		if (!client.bind(address, port) || !server.bind(address, 0) || !verifier.setCookieGeneratorParameters(p)) {
			std::fprintf(stderr, "%s %d: cannot be bound, or no secret\n", argv[i], port);
			return 1;
		}
		verifier.verifyClient(&server, hello(), address, port);
		QByteArray answer;
		if (client.waitForReadyRead(1000)) {
			answer.resize(client.pendingDatagramSize());
			client.readDatagram(answer.data(), answer.size());
		}
		const int head = 13 + 12 + 3; // record, handshake message, version and length
		if (answer.size() <= head || answer[13] != 3) {
			std::fprintf(stderr, "%s %d: no HelloVerifyRequest: %s\n", argv[i], port, qPrintable(verifier.dtlsErrorString()));
			return 1;
		}
		std::printf("%s %d %s\n", argv[i], port, answer.mid(head).toHex().constData());
	}
}
