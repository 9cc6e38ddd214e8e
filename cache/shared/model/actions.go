package model

// Action is a kind of step.
type Action uint8

// The actions of replicas, of Redis, of the provider and of time come first, and then the
// faults.
const (
	beginLoad  Action = iota // a load begins
	rejectHeld               // a target refuses the token in use
	lookAgain                // a load looks whether the holder of the lease has stored a token
	endWait                  // the turn of a load comes
	readReply                // a replica reads the answer that its load waits for
	renewLease               // a replica renews its lease during the token request
	runScript                // Redis runs a script and answers
	runPosted                // Redis runs a script of which nobody waits for the answer
	issueToken               // the provider issues a token
	refuseKey                // the provider refuses the key for good
	throttle                 // the provider asks for fewer requests
	passTime                 // a unit of time passes

	LoseReply  // an answer of Redis is lost
	DelayLook  // a look reaches Redis only after the replica has given up waiting for it
	RepeatLook // a look reaches Redis twice
	LosePosted // a message is lost of which nobody waits for the answer
	CutOff     // a replica cannot reach Redis
	Crash      // a replica loses all it knows
	LoseMemory // Redis loses all it knows
	actions
)

// step is what one loader does, or what happens to it. The slot tells its messages apart.
type step struct {
	action Action
	loader uint8
	slot   uint8
}
