// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// Qt, modelled on its "DTLS server" example: one QUdpSocket, a QDtlsClientVerifier for unknown clients, a QDtls
// for each known one.
//
//	qt ADDRESS PORT CERTIFICATE KEY [COOKIES]
//
// as in peer.h, without its sockets: a QDtls writes to the socket that all share. Without a file COOKIES the
// secret is random; QDtlsClientVerifier and QDtls must have the same, or QDtls asks for another cookie.

#include <QtCore/QCoreApplication>
#include <QtCore/QFile>
#include <QtCore/QHash>
#include <QtCore/QRandomGenerator>
#include <QtNetwork/QDtls>
#include <QtNetwork/QSslCertificate>
#include <QtNetwork/QSslConfiguration>
#include <QtNetwork/QSslKey>
#include <QtNetwork/QUdpSocket>

#include <cstdio>
#include <memory>
#include <sys/socket.h>

using Parameters = QDtlsClientVerifier::GeneratorParameters;
using Peer = QPair<QHostAddress, quint16>;

static Parameters parameters(const QStringList &arguments)
{
	QByteArray secret(32, 0);
	QRandomGenerator::system()->fillRange(reinterpret_cast<quint32 *>(secret.data()), secret.size() / 4);
	if (arguments.size() > 5) {
		QFile file(arguments[5]);
		if (!file.open(QIODevice::ReadOnly))
			qFatal("%s: %s", qPrintable(arguments[5]), qPrintable(file.errorString()));
		secret = QByteArray::fromHex(file.readLine().trimmed());
	}
	return Parameters(QCryptographicHash::Sha256, secret);
}

static QSslConfiguration configuration(const QStringList &arguments)
{
	auto c = QSslConfiguration::defaultDtlsConfiguration();
	c.setPeerVerifyMode(QSslSocket::VerifyNone);
	QFile key(arguments[4]);
	if (!key.open(QIODevice::ReadOnly))
		qFatal("%s: %s", qPrintable(arguments[4]), qPrintable(key.errorString()));
	c.setLocalCertificateChain(QSslCertificate::fromPath(arguments[3]));
	c.setPrivateKey(QSslKey(&key, QSsl::Ec));
	return c;
}

class Server {
public:
	explicit Server(const QStringList &arguments)
		: cookies(parameters(arguments)), security(configuration(arguments))
	{
		verifier.setCookieGeneratorParameters(cookies);
		// Only now: a server that listens is ready.
		QHostAddress at = arguments[1] == "any" ? QHostAddress(QHostAddress::Any) : QHostAddress(arguments[1]);
		if (!socket.bind(at, arguments[2].toUShort()))
			qFatal("bind: %s", qPrintable(socket.errorString()));
		int room = 8 << 20; // as the other servers have
		setsockopt(socket.socketDescriptor(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
		QObject::connect(&socket, &QUdpSocket::readyRead, [this] { receive(); });
	}

private:
	void receive()
	{
		while (socket.hasPendingDatagrams()) {
			QByteArray datagram(socket.pendingDatagramSize(), Qt::Uninitialized);
			Peer peer;
			const auto n = socket.readDatagram(datagram.data(), datagram.size(), &peer.first, &peer.second);
			if (n <= 0)
				continue;
			datagram.resize(n);
			if (const auto known = clients.value(peer))
				goOn(peer, *known, datagram);
			else if (verifier.verifyClient(&socket, datagram, peer.first, peer.second))
				goOn(peer, begin(peer), datagram);
		}
	}

	QDtls &begin(const Peer &peer)
	{
		const auto client = std::make_shared<QDtls>(QSslSocket::SslServerMode);
		client->setDtlsConfiguration(security);
		client->setPeer(peer.first, peer.second);
		client->setCookieGeneratorParameters(cookies);
		QObject::connect(client.get(), &QDtls::handshakeTimeout, [this, c = client.get()] { c->handleTimeout(&socket); });
		clients[peer] = client;
		return *client;
	}

	void goOn(const Peer &peer, QDtls &client, const QByteArray &datagram)
	{
		if (!client.isConnectionEncrypted()) {
			if (!client.doHandshake(&socket, datagram))
				fprintf(stderr, "handshake: %s\n", qPrintable(client.dtlsErrorString()));
			else if (client.isConnectionEncrypted())
				say("accepted");
			return;
		}
		const auto text = client.decryptDatagram(&socket, datagram);
		if (!text.isEmpty()) {
			client.writeDatagramEncrypted(&socket, text);
		} else if (client.dtlsError() == QDtlsError::RemoteClosedConnectionError) {
			say("closed");
			clients.remove(peer);
		}
	}

	static void say(const char *what)
	{
		puts(what);
		fflush(stdout);
	}

	const Parameters cookies;
	const QSslConfiguration security;
	QUdpSocket socket;
	QDtlsClientVerifier verifier;
	QHash<Peer, std::shared_ptr<QDtls>> clients;
};

int main(int argc, char **argv)
{
	QCoreApplication application(argc, argv);
	const auto arguments = application.arguments();
	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: %s ADDRESS PORT CERTIFICATE KEY [COOKIES]\n", argv[0]);
		return 2;
	}
	Server server(arguments);
	return application.exec();
}
