from tenfold.core.journal import Journal, NullJournal


def test_the_null_journal_is_a_journal_that_keeps_nothing() -> None:
    journal: Journal = NullJournal()
    network = journal.network("shots=5", 1, {"model.lr": 1e-3})
    network.epoch(1, {"train/loss": 0.5})
    network.done({"aupro_30": 0.9})
    assert vars(journal) == {} == vars(network)
