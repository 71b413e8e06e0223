#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%% Copyright The dtlsguard Authors

%% A DTLS server on Erlang/OTP's ssl application, as its user's guide has it: each connection has a process, and echoes.
%%
%%     server.escript ADDRESS PORT CERTIFICATE KEY

main([Address, Port, Certificate, Key | _]) ->
    {ok, IP} = inet:parse_address(Address),
    Family = case tuple_size(IP) of 4 -> inet; 8 -> inet6 end,
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Listener} = ssl:listen(list_to_integer(Port),
        [{protocol, dtls}, Family, {ip, IP}, {certfile, Certificate}, {keyfile, Key}, {mode, binary}, {active, false}]),
    accept(Listener).

accept(Listener) ->
    {ok, Transport} = ssl:transport_accept(Listener),
    Server = spawn(fun() -> receive go -> serve(Transport) end end),
    ok = ssl:controlling_process(Transport, Server),
    Server ! go,
    accept(Listener).

serve(Transport) ->
    case ssl:handshake(Transport, 30000) of
        {ok, Connection} -> io:put_chars("accepted\n"), echo(Connection);
        {error, _} -> ok
    end.

echo(Connection) ->
    case ssl:recv(Connection, 0) of
        {ok, Data} -> ok = ssl:send(Connection, Data), echo(Connection);
        {error, _} -> io:put_chars("closed\n")
    end.
