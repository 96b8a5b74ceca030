from callboard._core.progress import Progress


def test_progress_continues_from_its_state():
    progress = Progress(epoch=2, batch=3, step=23, samples=736)
    again = Progress()
    again.load_state_dict(progress.state_dict())
    assert again == progress
    assert progress.state_dict() == {"epoch": 2, "batch": 3, "step": 23, "samples": 736}
