// Package redislease keeps leases on workflows in Redis or Valkey, so that instances of a gateway
// which share nothing else run each workflow in one place at a time.
//
// [Store] is the [relay.Leaser] of all sessions of a process, and an [actors.Service] that belongs
// to the stage AfterSessions:
//
//	store, err := redislease.New(redislease.Options{URL: "redis://redis:6379"})
//	supervisor.Add("lease store", actors.AfterSessions, store)
//
// # What holds
//
// A lease is a key with the holder's random token and a time to live, 30 s. While [Store.Serve] runs
// it is renewed every 10 s; an instance that is killed frees its workflows when they run out. Only
// the holder's token renews or frees a key.
//
// The holder counts the time to live from before it sent the last renewal that was answered, less
// 1 %: a lease is lost here before it is free there, whatever the network did, as long as the two
// clocks run at the same speed to 1 % and this process isn't suspended as a whole.
//
// # What doesn't
//
// A server that loses a key (a restart without persistence, a failover to a replica that hadn't got
// it) can give it to somebody else while the holder runs. The holder takes a key that is gone again
// with its next renewal; if somebody was faster, its lease is lost: two holders for 10 s at most.
//
// With [FailOpen], the default, a session that finds the store unreachable starts all the same, and
// nothing keeps the same workflow from starting elsewhere. The renewal takes its lease as soon as
// the store answers; if somebody else has it by then, it is lost, and the session with it.
//
// A Redis Cluster is not supported: one renewal names keys of many slots. What the user of the URL
// must be allowed to do on the keys: EVAL, GET, SET, PEXPIRE, DEL.
//
// The client below, go-redis, writes what it thinks about connections to stderr; its function
// redis.SetLogger, global to the process, turns that elsewhere.
package redislease
