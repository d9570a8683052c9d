"""Facts about the data sets, and the message for one that is not there."""

import re

import pytest
from rich.filesize import decimal
from tonic import datasets as event_datasets
from torchvision import datasets as image_datasets

from snntrain.data import source

KNOWN = source.names()


@pytest.mark.parametrize("name", KNOWN)
def test_every_data_set_has_its_facts_and_a_message_that_says_all_it_takes(name):
    one = source.find(name)
    assert one.license and one.citation and re.search(r"(19|20)\d\d", one.citation)
    assert one.homepage.startswith("http")
    if name in ("Digits", "Diabetes"):
        assert one.files == ()
        return
    said = source.missing_message(name, "some/where")
    for file in one.files:
        assert re.fullmatch(r"[0-9a-f]{32}", file.md5) and all(url.startswith("http") for url in file.urls)
        size = decimal(file.size) if file.size else "size not published"
        assert all(part in said for part in (file.name, *file.urls, file.md5, size))
    assert str(f"some/where/{one.folder}").rstrip("/") in said
    assert f"python scripts/fetch_data.py name={name}" in said and "data.download=true" in said and "\n" not in said


def test_addresses_and_checksums_are_those_of_torchvision_and_tonic(monkeypatch):
    monkeypatch.setattr(image_datasets.CIFAR100, "tgz_md5", "a" * 32)
    monkeypatch.setattr(event_datasets.NMNIST, "test_url", "https://elsewhere/test.zip")
    assert source.find("CIFAR100").files[0].md5 == "a" * 32
    assert [file.urls for file in source.find("NMNIST").files][1] == ("https://elsewhere/test.zip",)
    assert [file.name for file in source.find("SSC").files] == [
        "ssc_train.h5.zip",
        "ssc_valid.h5.zip",
        "ssc_test.h5.zip",
    ]


def test_a_message_about_one_file_names_that_one_alone():
    said = source.missing_message("fashion_mnist", "data", file="t10k-labels-idx1-ubyte.gz")
    assert said.startswith("data: t10k-labels-idx1-ubyte.gz is not in data/FashionMNIST/raw. Download t10k-labels")
    assert said.count("MD5") == 1 and "5.1 kB" in said and "put it into that folder" in said


def test_a_message_about_a_part_of_an_archive_names_both():
    said = source.missing_message("NMNIST", "data", missing="Train/3", file="train.zip")
    assert said.startswith("data: Train/3 is not in data/NMNIST. Download train.zip (https://")
    assert "test.zip" not in said and "`python scripts/fetch_data.py name=NMNIST --from FILE`" in said


@pytest.mark.parametrize("name", ["fashion_mnist", "Fashion-MNIST", "FASHIONMNIST"])
def test_spelling_is_free_in_case_and_dashes(name):
    assert source.find(name).name == "FashionMNIST"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"'dvs_gestures' is not a data set.*Did you mean DVSGesture\? Known: Digits, "
    ):
        source.find("dvs_gestures")


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_the_sizes_are_those_of_the_real_files(shared_data, name):
    one = source.find(name)
    assert {file.name: (shared_data / one.folder / file.name).stat().st_size for file in one.files} == {
        file.name: file.size for file in one.files
    }
