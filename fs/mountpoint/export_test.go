package mountpoint

// DetachWithin is [Detach] with another bound.
var DetachWithin = detachWithin
