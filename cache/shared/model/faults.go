package model

// A SeededFault is a protocol without one of its lines.
type SeededFault struct {
	Name    string
	Without Line
	Setting Setting // large enough for the fault to show
	Rule    string  // the rule that it breaks
}

var (
	twoReplicas   = Setting{Replicas: 2, Keys: 1, Loads: 3}
	refusal       = Setting{Replicas: 2, Keys: 1, Loads: 4, Refusals: 1}
	crash         = Setting{Replicas: 2, Keys: 1, Loads: 2, Faults: 1, Of: []Action{Crash}}
	cutOff        = Setting{Replicas: 2, Keys: 1, Loads: 3, Faults: 1, Of: []Action{CutOff}}
	twoKeys       = Setting{Replicas: 2, Keys: 2, Loads: 2, Budget: true}
	stopped       = Setting{Replicas: 2, Keys: 2, Loads: 3, Budget: true, Refusals: 1}
	stoppedInTime = Setting{Replicas: 2, Keys: 2, Loads: 3, Budget: true, Prompt: true, Refusals: 1}
	inTime        = Setting{Replicas: 2, Keys: 2, Loads: 2, Budget: true, Prompt: true}
	inTimeApart   = Setting{Replicas: 2, Keys: 2, Loads: 2, Budget: true, Prompt: true, Cluster: true}
)

// SeededFaults are at least one for each [Line] and one for each rule.
var SeededFaults = []SeededFault{
	{"a store does not look at the value that it replaces", StoreComparesKnown, twoReplicas, ruleNewerStays},
	{"nor does that of a replica without a lease", AddComparesKnown, cutOff, ruleNewerStays},
	{"a store gives back whatever lease there is", StoreComparesOwner, twoReplicas, ruleOneHolder},
	{"so does a release", ReleaseComparesOwner, refusal, ruleOneHolder},
	{"a renewal takes a lease that has ended", RenewComparesOwner, twoReplicas, ruleOneHolder},
	{"what is deleted is whatever is there", ForgetNamesValue, refusal, ruleRefusedGoes},
	{"a lease is taken although another replica has it", TakeOnlyFreeLease, twoReplicas, ruleOneHolder},
	{"a lease has no end", LeaseEnds, crash, ruleEveryLoadEnds},
	{"a lease ends while its holder waits for the turn", LeaseStandsForTurn, inTime, rulePromptLease},
	{"it does so where the turn is taken apart", LeaseStandsForTurn, inTimeApart, rulePromptLease},
	{"a replica adopts a token older than its own", AdoptOnlyNewer, twoReplicas, ruleNewerHeld},
	{"a replica adopts what a target refused", RejectedIsBarred, refusal, ruleBarred},
	{"a replica adopts what is older than that", OlderThanRejectedIsBarred, refusal, ruleBarred},
	{"a load does not look past a value that is of no use", UselessIsPassedOver, twoReplicas, ruleEveryLoadEnds},
	{"a look takes a turn although another replica has the lease", BusyTakesNoTurn, twoKeys, ruleTurnUsed},
	{"a turn that was taken stays in the bucket", TurnIsSpent, twoKeys, ruleTurnsApart},
	{"so that all replicas together make more token requests", TurnIsSpent, inTime, ruleBudget},
	{"a token request does not wait for its turn", TurnIsAwaited, twoKeys, ruleTurnAwaited},
	{"so that all replicas together make more of them", TurnIsAwaited, inTime, ruleBudget},
	{"nobody asks whether the fleet was stopped before the turn came", StopIsChecked, stopped, ruleStopHeeded},
	{"nor whether it was stopped and goes on again", VoidIsChecked, stoppedInTime, ruleBudget},
}

// Seeded returns the setting in which f is to be found. Only its own rule is looked at.
func (f SeededFault) Seeded() Setting {
	s := f.Setting
	s.Without, s.Rule = f.Without, f.Rule
	return s
}
