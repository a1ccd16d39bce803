package transport

import "github.com/commy-project/commyfs/model"

// What the domain has a type for converts to it for nothing.
var (
	_ = model.Client(Hello{})
	_ = model.Welcome(Welcome{})
	_ = model.TreePage(Tree{})
	_ = model.TreeChanges(TreeChanged{})
	_ = model.Watch(Watch{})
	_ = model.Snapshot(Snapshot{})
	_ = model.Changes(VariableChanged{})
	_ = model.Report(ReportVariableChanges{})
	_ = model.Outcome(VariableChangesAcknowledged{})
	_ = model.MemoryFile(ServiceFilePath{})
	_ = model.Probe(Probe{})
	_ = model.Probed(Probed{})
	_ = model.Read(ReadVariable{})
	_ = model.List(List{})
	_ = model.Page(Entries{})
	_ = model.Status(Status{})
	_ = model.NewKey(CreateKey{})
)
