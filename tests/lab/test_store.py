"""The files of the lab."""

from gluon_nst.errors import InputError
from gluon_nst.lab.web.models import LabRun, StoredPicture, Student
from gluon_nst.lab.web.store import Store, new_id

import pytest


def test_saved_students_are_loaded_without_damaged_runs(tmp_path):
    store = Store(tmp_path / "lab")
    student = Student("a1", "Anna", 5.0)
    picture = StoredPicture("b2", "x.png", 3, 4)
    runs = [LabRun(name, "a1", {"side": 64}, {}, since, 9.0) for name, since in (("c3", 2.0), ("d4", 1.0), ("e5", 3.0))]
    store.save_student(student)
    store.save_picture("a1", picture)
    for run in runs:
        store.save_run(run)
    (store.run_folder(runs[2]) / "ticket.json").write_text('{"id": "e5"')
    (store.student_folder("zz") / "runs").mkdir(parents=True)
    (loaded,) = store.load_students()
    assert (loaded.name, loaded.pictures, list(loaded.runs)) == ("Anna", {"b2": picture}, ["d4", "c3"])
    assert loaded.runs["c3"] == runs[0]


def test_secrets_are_kept_and_private(tmp_path):
    store = Store(tmp_path / "lab")
    assert store.secret("token") == Store(tmp_path / "lab").secret("token") != store.secret("other")
    assert (tmp_path / "lab" / "token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "lab").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_not_a_labs_is_refused_and_not_changed(tmp_path):
    """A lab removes incomplete uploads from its folder, so it must not open a folder with other files."""
    own = tmp_path / "students" / "anna" / "thesis.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(InputError, match="not a lab's folder, and not empty; choose another with --output"):
        Store(tmp_path)
    assert own.read_text() == "mine"
    assert not (tmp_path / "own").exists()
    store = Store(tmp_path / "empty")
    store.save_student(Student("a1", "Anna", 5.0))
    assert [student.name for student in Store(tmp_path / "empty").load_students()] == ["Anna"]


def test_a_folder_with_an_unrelated_secret_is_refused(tmp_path):
    (tmp_path / "secret").write_text("password of the printer")
    with pytest.raises(InputError, match="not a lab's folder, and not empty"):
        Store(tmp_path)
    (tmp_path / "secret").write_bytes(b"\xff" * 24)
    with pytest.raises(InputError, match="not a lab's folder, and not empty"):
        Store(tmp_path)


def test_only_files_of_the_lab_are_removed(tmp_path):
    store = Store(tmp_path)
    student, half, own = new_id(), store.student_folder(new_id()), tmp_path / "students" / "anna"
    store.save_student(Student(student, "Ben", 5.0))
    mine = store.student_folder(student) / "pictures/mine/a.png"
    files = [own / "thesis.txt", own / "pictures/holiday/beach.png", mine]
    incomplete = [store.picture_folder(student, new_id()) / "original", half / "pictures" / new_id() / "original"]
    for file in (*files, *incomplete):
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    store.remove_incomplete()
    assert all(file.exists() for file in files)
    assert not any(file.parent.exists() for file in incomplete)
    assert not half.exists()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't create the lab's files .*; choose another folder with --output"):
        Store(tmp_path / "file" / "lab")
