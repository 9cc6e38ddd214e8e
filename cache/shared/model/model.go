// Package model is the protocol by which replicas share tokens, made so small that a
// program can look at every state it can come to. The tests of package shared play the
// orders of events that somebody thought of; this plays all of them. It imports nothing of
// the product, so it says nothing of the Go code and the Lua scripts themselves: whoever
// changes the protocol there changes it here too.
//
// It is read from the whole to its parts. faults.go leaves out one line of the protocol at
// a time, to see that a rule notices. explore.go goes through all states of a
// [Setting], and where a rule is broken, trace.go tells the shortest way there.
// canonical.go finds out that two states differ only in names. reached.go has what must
// come up somewhere, lest the rules hold for want of anything to break them; rules.go has
// what must hold at each step; fair.go shows of each state that all loads end if nothing
// more goes wrong. steps.go lists the steps that a state allows, and world.go has those of
// time and of what goes wrong. replica.go has what a replica does between one message and
// the next, and redis.go the scripts, each of which is one step at Redis. model.go says what
// there is: the state of Redis, of the provider and of the replicas. actions.go names the
// kinds of steps, and lines.go the lines of the protocol.
//
// What the model leaves out: tokens do not expire, clocks do not differ, nobody else writes
// to Redis, the sealing keys do not change, and a load that waits does so for as long as it
// takes. A loader has two messages at most on their way that it does not wait for.
package model

import "hash/maphash"

// A Setting says how much of the protocol is explored.
type Setting struct {
	Replicas int // at most 3, and with two keys 2
	Keys     int // 1 or 2
	// Budget has token requests made by the turns of one bucket, for all keys together.
	Budget bool
	// Cluster has a replica take its turn in a question of its own, once it has the lease.
	Cluster bool
	// Prompt lets no time pass while a message is on its way, or while a replica has
	// something to do but to wait. Without it every message and every replica may be held
	// up for as long as it takes, so that leases end before they are given back.
	Prompt   bool
	Loads    int      // how many loads may begin
	Refusals int      // how often the provider may refuse a key for good, or ask for fewer requests
	Faults   int      // how many faults may happen
	Of       []Action // which faults those are
	Without  Line     // the line of the protocol that is left out; zero leaves out none
	Rule     string   // the only rule to look at; empty means all of them
}

// Time goes in units. These are lengths of time.
const (
	leaseTime   = 2 // how long a lease stands after it was taken or renewed
	interval    = 2 // between two turns of the bucket
	patience    = 2 // how long a load can wait for its turn
	longest     = 4 // the same, if its key was promised one by now
	probing     = 2 // the least time between two token requests while the fleet is stopped
	stopTime    = 2 // how long a stop gives no turn at all
	mostWait    = 6 // how far ahead a turn is promised
	keptPromise = 1 // how long a promise outlives its time
)

const (
	maxKeys    = 2
	maxLoaders = 4
	maxTokens  = 11 // of one key at a time
)

// A token is the place in the order in which the token requests for its key began. That
// is what replicas compare, since a token is dated by the moment in which its request
// began. It is the version of the shared value as well, since no two replicas share the
// same token. Zero is none.
type token uint8

// An owner tells the holder of a lease from all others. Zero is none.
type owner uint8

// state is all there is at one moment. It holds no pointer, so that states can be compared
// and copied.
type state struct {
	keys    [maxKeys]sharedKey
	bucket  bucket
	loaders [maxLoaders]loader
	// issued is the order in which the provider issued the tokens, which differs from that
	// of the requests if these were under way together. Zero: not issued yet.
	issued [maxKeys][maxTokens + 1]uint8

	loads, refusals, faults uint8 // how many may still come

	// The rest is there for the rules alone. asked rises by an interval with each token
	// request and falls by a unit of time in each; allowed is what it may rise to.
	asked, allowed uint8
}

// sharedKey is what Redis knows of one key.
type sharedKey struct {
	value   token
	lease   owner
	left    uint8 // until the lease ends
	promise uint8 // until the promise of a turn is forgotten; zero: there is none
}

// bucket is the budget in Redis. Its times count from now.
type bucket struct {
	free     uint8 // until the next turn is free
	promised uint8 // until the latest turn that was promised
	stopped  bool  // turns are given one at a time, to see whether the provider works again
}

// phase is how far a load has come. Where it waits for an answer of Redis or of the
// provider there are two phases: first the question is on its way, then the answer.
type phase uint8

const (
	idle     phase = iota
	looking        // for a shared token, and for the lease
	looked         //
	waiting        // because another replica has the lease
	taking         // a turn, apart from the look
	taken          //
	turning        // waiting for the turn
	checking       // whether the fleet was stopped meanwhile
	checked        //
	fetching       // the token
	answered       //
	phases
)

// way is how a load came to its token request. It is there for the rules: the replica knows
// no more than whether it may have a lease.
type way uint8

const (
	byLease     way = iota + 1 // it was given the lease, which is still its own
	afterLease                 // it was given the lease, which has ended since
	withoutWord                // the answer of Redis is missing: it may have the lease
	alone                      // Redis could not be asked
)

// reply is what a script or the provider answered.
type reply uint8

const (
	none      reply = iota
	found           // a value, and not the known one
	granted         // the lease, or the turn
	busy            // another replica has the lease
	refused         // there is no turn, or the fleet is stopped
	issued          // a token
	decided         // the provider refuses the key for good
	throttled       // the provider wants fewer token requests
)

// loader is one key in one replica: what the replica knows of the key, the load that is
// under way, and the messages that it has sent and does not wait for.
type loader struct {
	held     token // the token in use
	rejected token // the last that a target refused

	phase    phase
	replaces bool  // a target refused the token that this load is to replace
	known    token // the shared value that is of no use
	owner    owner // of the lease that the load asked for
	way      way
	reply    reply
	value    token // in the reply, or the one that the token request is to bring
	wait     uint8 // until the turn
	waited   bool  // the turn did not come at once
	void     bool  // the fleet was stopped since it was taken
	turn     bool  // the token request has a turn
	probe    bool  // it shows whether the fleet need be stopped any longer
	stopped  bool  // for the rules: the fleet was stopped already when the turn came

	out [2]message // on their way to Redis; the first place is filled first
}

// message is a script on its way to Redis of which nobody waits for the answer.
type message struct {
	script script
	owner  owner
	known  token // the value that it replaces or deletes
	token  token // the value that it stores
	stand  uint8 // how long the lease is to stand
}

// machine makes the steps of one setting.
type machine struct {
	Setting
	faulty [actions]bool // what may go wrong
	orders []order       // see canonical.go, as of the next
	seed   maphash.Seed
}

func newMachine(s Setting) *machine {
	m := &machine{Setting: s, seed: maphash.MakeSeed()}
	for _, a := range s.Of {
		m.faulty[a] = true
	}
	m.arrange()
	return m
}

// start returns the state in which nothing has happened.
func (m *machine) start() state {
	return state{loads: uint8(m.Loads), refusals: uint8(m.Refusals), faults: uint8(m.Faults), allowed: interval}
}

// loaders returns how many loaders there are: one for each key in each replica.
func (m *machine) loaders() int { return m.Replicas * m.Keys }

// keyOf returns the key of loader i, and replicaOf its replica.
func (m *machine) keyOf(i int) int     { return i % m.Keys }
func (m *machine) replicaOf(i int) int { return i / m.Keys }
