#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%% Copyright The dtlsguard Authors

%% A DTLS client on Erlang/OTP's ssl application.
%%
%%     client.escript ADDRESS PORT

main([Address, Port]) ->
    {ok, IP} = inet:parse_address(Address),
    Family = case tuple_size(IP) of 4 -> inet; 8 -> inet6 end,
    {ok, _} = application:ensure_all_started(ssl),
    case ssl:connect(IP, list_to_integer(Port), [{protocol, dtls}, Family, {verify, verify_none}, {mode, binary}, {active, true}], 30000) of
        {ok, Connection} ->
            io:put_chars("connected\n"),
            Client = self(),
            spawn_link(fun() -> lines(Client) end),
            talk(Connection);
        {error, Reason} ->
            io:format(standard_error, "handshake: ~p~n", [Reason]),
            halt(1)
    end.

%% lines sends what comes on the standard input.
lines(Client) ->
    case io:get_line("") of
        eof -> Client ! eof;
        Line -> Client ! {line, Line}, lines(Client)
    end.

talk(Connection) ->
    receive
        {line, Line} -> ok = ssl:send(Connection, Line), talk(Connection);
        {ssl, Connection, Data} -> io:put_chars(Data), talk(Connection);
        eof -> ssl:close(Connection);
        {ssl_closed, Connection} -> halt(1);
        {ssl_error, Connection, _} -> halt(1)
    end.
