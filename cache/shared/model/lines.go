package model

// Line is a line of the protocol that can be left out. Its name says what the line does.
type Line int

const (
	StoreComparesKnown        Line = iota + 1 // a store leaves a value alone that its load did not know
	AddComparesKnown                          // so does the store of a replica without a lease
	StoreComparesOwner                        // a store gives back no lease but that of its load
	ReleaseComparesOwner                      // so does a release
	RenewComparesOwner                        // a renewal does nothing for a lease that is gone
	ForgetNamesValue                          // no value is deleted but the one named
	TakeOnlyFreeLease                         // a lease that another replica has is not taken
	LeaseEnds                                 // a lease ends if it is not renewed
	LeaseStandsForTurn                        // it stands for longer if the turn comes later
	AdoptOnlyNewer                            // a shared token must be newer than the one held
	RejectedIsBarred                          // and not the one that a target refused
	OlderThanRejectedIsBarred                 // nor older than that one
	UselessIsPassedOver                       // a load looks past a value that is of no use
	BusyTakesNoTurn                           // a look takes no turn without the lease
	TurnIsSpent                               // a turn that was taken is free no more
	TurnIsAwaited                             // a token request waits for its turn
	StopIsChecked                             // and asks then whether the fleet was stopped meanwhile
	VoidIsChecked                             // even if it goes on by then
	lines
)
