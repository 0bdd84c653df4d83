// Package redislease keeps leases on workflows in Redis or Valkey, so that instances of a gateway
// which share nothing else run each workflow in one place at a time. The store is one server, a
// cluster, or a master that sentinels name.
//
// [Store] is the [relay.Leaser] of all sessions of a process, and an [actors.Service] that belongs
// to the stage AfterSessions:
//
//	store, err := redislease.New(redislease.Options{URL: "redis://redis:6379"})
//	err = store.Check(ctx) // errors.Is(err, redislease.ErrRefused): it will never work
//	supervisor.Add("lease store", actors.AfterSessions, store)
//
// To see it work, run two gateways and one workflow twice:
//
//	redis-server --port 6379 --save '' &
//	lastcall agent &
//	lastcall serve --agent 127.0.0.1:50052 --lock --lease-url redis://127.0.0.1:6379 &
//	lastcall serve --agent 127.0.0.1:50052 --lock --lease-url redis://127.0.0.1:6379 --listen 127.0.0.1:8180 --admin 127.0.0.1:8181 &
//	lastcall connect --workflow w1 &
//	lastcall connect --workflow w1 --url ws://127.0.0.1:8180/api/v4/ai/duo_workflows/ws
//
// The second client is closed with 1013, and tries again until the first one is done.
//
// # In the store
//
// A lease is a key with a time to live, 30 s. Its value is the owner's random name and the fencing
// token. A second key keeps the workflow's last token for a day. In a cluster both are in one slot,
// and workflows in any. Each lease is asked about by a script of its own, many in one round trip: a
// key that can't be renewed costs no other lease anything.
//
// While [Store.Serve] runs, all leases are renewed every third of the time to live. In between, every
// thirtieth, a few of them are: if the server has forgotten one, or had to be connected to again, all
// are renewed at once. An instance that is killed frees its workflows when their leases run out.
//
// The user of the URL must be allowed, on keys with the prefix: EVAL, GET, SET, DEL, TIME. The server
// is Redis 5 or later, or any Valkey.
//
// # What holds
//
// Only the owner renews or frees a key. It counts the time to live from before it sent the last
// renewal that was answered, less 1 %: a lease ends here before it is free there, whatever the
// network did, as long as the two clocks run at the same speed to 1 %.
//
// A process that was suspended can't act on that in time. So its sessions call a lease's Confirm before
// each message that they relay. While the lease's time isn't up, by the clock that stands still while
// the machine is suspended and by the one that doesn't, Confirm asks no server. Else it does: what a
// session would have relayed after it had lost its lease is not sent.
//
// A wall clock that is set forward costs one question to the server, and no lease while the server
// answers. One that is set back makes no lease live longer. A suspension in the middle of a renewal
// is no outage of the server.
//
// A key that is gone is taken again, unless another session has it or has had it since: then the
// lease is lost, as its token isn't the latest. So a failover loses no lease that the new master
// knows, nor a lease that it doesn't know and that no other session took.
//
// Tokens of one workflow grow. A new one is larger than the last one that the server remembers, and
// no smaller than its clock, in microseconds. Where the server has forgotten the last one, the clock
// alone makes it larger: it must not have been set back by more than the time since.
//
// # What doesn't
//
// A server that loses a key (a restart without persistence, FLUSHALL, a failover to a replica that
// hadn't got it) can give it to another session while the owner goes on. The owner sees that at its
// next look at the server: two sessions for a thirtieth of the time to live, 1 s, and the calls
// themselves, 2 s at most each. In a cluster, a look is at three leases: FLUSHALL of one node of many
// can take until the next round, a third of the time to live.
//
// With [FailOpen], the default, sessions start and go on while the store is unreachable, and nothing
// keeps the same workflow from starting elsewhere. Their tokens, from the clocks of the instances,
// order them for an agent that heeds them.
//
// # When the store fails
//
// "lastcall serve" takes its --lease-failure for [Options].Failure, and this is what happens:
//
//	the store                         open (the default)             closed
//	refuses for good: password,       exit code 2 at start           exit code 2 at start
//	  database, TLS, replica
//	can't be reached at start         a warning; ready               a warning; not ready until
//	                                                                 the store was reached
//	can't be reached later            sessions start and go on       new sessions are refused; a
//	                                  without a lease, with a        session ends with 1013 when
//	                                  warning                        its lease runs out
//	is back, and has lost leases      leases are taken again where   the same
//	                                  no other session had them
//
// A client whose workflow runs elsewhere is closed with 1013. Package client then tries again, within 2 s,
// until the other session has ended.
//
// # Fencing tokens
//
// The agent gets the token as x-lastcall-fencing-token, in the metadata of its stream. An agent that writes
// the results of a workflow should refuse a token that is smaller than one it has seen: that session has lost
// the workflow, and does not know it yet.
//
// The client below, go-redis, writes what it thinks about connections to stderr; its function
// redis.SetLogger, global to the process, turns that elsewhere.
package redislease
