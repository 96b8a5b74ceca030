import json

import pytest

from callboard import Decision, Journal

STOPPED = Decision("EarlyStopping", "stopped", 6, 700, "no improvement")
SAVED = Decision("ModelCheckpoint", "saved", 5, 600, "saved to a.pt")


@pytest.fixture
def journal():
    journal = Journal()
    journal.record(SAVED)
    journal.record(STOPPED)
    return journal


def test_a_journal_is_a_sequence_of_decisions_oldest_first(journal):
    assert list(journal) == [SAVED, STOPPED]
    assert len(journal) == 2
    assert journal[-1] is STOPPED
    assert journal[:1] == [SAVED]
    assert SAVED in journal


def test_decisions_are_found_by_what_was_done(journal):
    assert journal.of("stopped") == [STOPPED]
    assert journal.of("reduced") == []


def test_it_reads_as_lines_with_epochs_from_one(journal):
    assert repr(journal).splitlines() == [
        "epoch 6, step 600: ModelCheckpoint saved: saved to a.pt",
        "epoch 7, step 700: EarlyStopping stopped: no improvement",
    ]


def test_it_continues_from_its_state_by_way_of_json(journal):
    again = Journal()
    again.load_state_dict(json.loads(json.dumps(journal.state_dict())))
    assert list(again) == list(journal)
    again.record(STOPPED)
    assert len(journal) == 2
