"""Folders as published data sets name and nest them: classes, splits, generators, wherever the folder is opened."""
# ruff: noqa: SIM905  Lists of names read better as text than with a name a line.

from collections import Counter
from pathlib import Path, PurePath

import pytest

from robustbench_aigen.data.class_folders import FolderReader
from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.data_spec import SourceSpec
from robustbench_aigen.words import label_of, split_of

REAL_NAMES = (
    "real REAL Reals 0_real real1 real-2 0real RealImages real_images realimages RealFaces class0_real Real(1) ＲＥＡＬ "
    "authentic Genuine original_sequences Originals pristine nature Natural photos camera human human-made HumanMade "
    "bona_fide non-fake notfake NotFake not_ai nonAI Celeb-real YouTube-real train_real TrainReal real_test "
    "真实 真图 真实图片 真人脸 非AI echt echte_Fotos réel Réels auténticas reale настоящие Реальные 本物 実写 진짜 gerçek asli thật "
    "vraies_photos veri äkta ekte echte_afbeeldingen πραγματικές אמיתי จริง real-Copy Copy_of_real without_ai RealFaces1M"
).split()
FAKE_NAMES = (
    "fake FAKE Fakes 1_fake fake-1 FAKE_IMAGES FakeFaces fakefaces DeepFake Deepfake deepfakes DEEPFAKE DeepFakes deep_fake "
    "AIGenerated AI-generated AIgenerated aigc aiart aiArt AIArt AiArtData AI_images synthetic SyntheticImages generated "
    "Computer-Generated computer_generated manipulated_sequences forged tampered spoof GAN diffusion Celeb-synthesis "
    "not_real non-real fake_test TestFake trainfake fake_sdxl AI_midjourney "
    "伪造 假图 AI生成 生成图片 合成 人工智能生成 gefälscht KI-generiert généré IA falso generadas falsi поддельные "
    "フェイク 가짜 sahte yapay_zeka palsu giả generadas_por_IA généré-par-l'IA geradas_por_ia AI绘图 nep_afbeeldingen falska "
    "gefaelscht generee ψεύτικες מזויף ปลอม fake_-_Copy"
).split()
NEITHER = (
    "surreal unreal realistic RealVis RealVisXL RealESRGAN real_esrgan realm reality real_images_fake_labels real_vs_fake "
    "fake_true fake_false ai_yes real-positive is_fake "
    "ai_vs_human human-or-ai fake_real 真假 true false positive 0 1 laion progan stable-diffusion non-photo "
    "imagenet_ai_0424_sdv5 real-world artist aids train contest latest"
).split()
SPLITS = {
    "train": "train Train TRAINING trn tr train2017 train_2017 train_real real_train TrainReal 00_train trainset TrainingSet "
    "training-images train-clean train1 Training_Data trainval 训练集 "
    "Trainingsdaten Trainingsbilder entrainement träning обучающая_выборка 학습용 تدريب",
    "val": "val valid Validation VALIDATION dev vl val_2017 val2017 validation_set valset Val1 验证集 "
    "validate Validierungsdaten validatie валидация",
    "test": "test Test testing tst holdout hold-out held_out public_test private-test PublicTest test_v2 test2 dataset_test "
    "testset testing-images TestImages test01 fake_test 测试集 "
    "dev-test test_dev Test1k Testdaten prova тестовая_выборка 테스트용 اختبار",
    None: "evaluation latest contest trainer attest pretrained greatest testament valley train_station nature",
}


@pytest.mark.parametrize(("label", "names"), [(0, REAL_NAMES), (1, FAKE_NAMES), (None, NEITHER)])
def test_class_words_in_any_case_spelling_and_language(label, names):
    assert {name: label_of(name) for name in names} == dict.fromkeys(names, label)


@pytest.mark.parametrize("split", SPLITS)
def test_split_words_with_what_stands_beside_them(split):
    names = [*SPLITS[split].split(), *(["Test Data", "testing (2)"] if split == "test" else [])]
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


@pytest.mark.parametrize(
    "name", ["DeepFake", "KI-generiert", "AI生成", "généré", "computer_generated", "AIgenerated"]
)
def test_the_classes_of_a_detector_are_read_with_the_same_words(name):
    assert label_of(name, context="output") == 1
    assert (
        label_of("真实", context="output")
        == label_of("NotFake", context="output")
        == label_of("настоящие", context="output")
        == 0
    )


def told(*folders, **said):
    """Read what folders tell, as a set of ``split generator class``."""
    reader = FolderReader([PurePath(folder) for folder in folders], **said)
    found = {folder: reader.read(PurePath(folder)) for folder in folders}
    return {
        folder: None if facts is None else (facts.label, facts.generator, facts.split)
        for folder, facts in found.items()
    }


LAYOUTS = {
    "140k real and fake faces": {
        "real_vs_fake/real-vs-fake/train/real": (0, "real", "train"),
        "real_vs_fake/real-vs-fake/valid/fake": (1, "fake", "val"),
        "real_vs_fake/real-vs-fake/test/fake": (1, "fake", "test"),
    },
    "OpenForensics": {"Dataset/Train/Fake": (1, "fake", "train"), "Dataset/Validation/Real": (0, "real", "val")},
    "real and fake face detection": {
        "real_and_fake_face/training_real": (0, "real", "train"),
        "real_and_fake_face/training_fake": (1, "fake", "train"),
    },
    "WildDeepfake": {
        "real_train": (0, "real", "train"), "fake_train": (1, "fake", "train"),
        "real_test": (0, "real", "test"), "fake_test": (1, "fake", "test"),
    },
    "FaceForensics++": {
        "manipulated_sequences/Deepfakes/c23/frames/001": (1, "Deepfakes", None),
        "manipulated_sequences/Face2Face/c23/frames/001": (1, "Face2Face", None),
        "original_sequences/youtube/c23/frames/001": (0, "real", None),
    },
    "WildRF": {
        "train/0_real": (0, "real", "train"), "train/1_fake": (1, "fake", "train"),
        "test/reddit/0_real": (0, "reddit", "test"), "test/reddit/1_fake": (1, "reddit", "test"),
        "test/facebook/1_fake": (1, "facebook", "test"),
    },
    "AIGCDetectBenchmark": {
        "test/ForenSynths/progan/cat/0_real": (0, "progan", "test"), "test/ForenSynths/san/1_fake": (1, "san", "test"),
        "test/GenImage/ADM/1_fake": (1, "ADM", "test"),
    },
    "TrueFace": {
        "Facebook/Real/FFHQ": (0, "real", None), "Facebook/Fake/StyleGAN/psi-0.5": (1, "StyleGAN", None),
        "Telegram/Fake/StyleGAN2/psi-1": (1, "StyleGAN2", None),
    },
    "DRCT-2M": {
        "real/train2017": (0, "real", "train"), "fake/ldm-text2im/val2017": (1, "ldm-text2im", "val"),
        "fake/sdxl-turbo/train2017": (1, "sdxl-turbo", "train"),
    },
    "CNNDetection's training set": {
        "train/train/0_real": (0, "real", "train"), "train/cat/1_fake": (1, "fake", "train"),
        "val/train/1_fake": (1, "fake", "val"), "val/cat/0_real": (0, "real", "val"),
    },
    "trains among vehicles": {"real/train": (0, "real", None), "real/boat": (0, "real", None), "fake/train": (1, "fake", None)},
    "ImageNet's classes": {
        "ADM/val/ai/n01440764": (1, "ADM", "val"), "ADM/val/nature/n01440764": (0, "ADM", "val"),
        "glide/val/ai/n01440764": (1, "glide", "val"),
    },
    "splits of generators": {
        "train_sdxl/fake": (1, "sdxl", "train"), "test_sdxl/fake": (1, "sdxl", "test"), "test_sdxl/real": (0, "sdxl", "test"),
    },
    "splits of another set": {"celeba_train/real": (0, "real", "train"), "celeba_test/fake": (1, "fake", "test")},
    "splits below the classes": {"ai/train/sdxl": (1, "sdxl", "train"), "ai/tst/sdxl": (1, "sdxl", "test"), "real/tst": (0, "real", "test")},
    "eval beside train": {"train/real": (0, "real", "train"), "eval/fake": (1, "fake", "val")},
    "eval beside train and dev": {"train/real": (0, "real", "train"), "dev/fake": (1, "fake", "val"), "eval/fake": (1, "fake", "test")},
    "evaluation alone": {"evaluation/real": (0, "real", None), "evaluation/fake": (1, "fake", None)},
    "generators that sound like splits": {"latest/fake": (1, "latest", None), "contest/real": (0, "contest", None)},
    "generators that sound like classes": {"RealVisXL/fake": (1, "RealVisXL", None), "RealESRGAN/real": (0, "RealESRGAN", None)},
    "families of generators": {"real": (0, "real", None), "gan": (1, "gan", None), "diffusion": (1, "diffusion", None)},
    "parts and sizes": {"ai/part1": (1, "fake", None), "ai/512x512": (1, "fake", None), "real/000": (0, "real", None)},
    "kinds of AI pictures": {"ai/nature": (1, "fake", None), "ai/human": (1, "fake", None)},
    "a set called after a class": {"AI_faces/real": (0, "real", None), "AI_faces/ai": (1, "fake", None)},
    "letters are names": {"fake/A": (1, "A", None), "fake/B": (1, "B", None), "fake/E": (1, "E", None), "real": (0, "real", None)},
    "shards, seeds and months": {
        "fake/shard_000": (1, "fake", None), "fake/seed-1": (1, "fake", None), "real/May_2023": (0, "real", None),
        "fake/June-2023": (1, "fake", None), "processed/real": (0, "real", None), "jpeg_q90/fake": (1, "fake", None),
    },
    "kinds of pictures of both classes": {
        "fake/female": (1, "fake", None), "real/female": (0, "real", None), "fake/male/lumina": (1, "lumina", None),
        "real/male": (0, "real", None),
    },
    "kinds of which one has no reals": {
        "train/fake/cats": (1, "fake", "train"), "test/fake/dogs": (1, "fake", "test"), "test/real/cats": (0, "real", "test"),
    },
    "one name among several generators": {
        "fake/lumina": (1, "lumina", None), "fake/zimage": (1, "zimage", None), "fake/people": (1, "fake", None),
        "real/people": (0, "real", None),
    },
    "generators with reals of their own below the classes": {
        "1_fake/sdxl": (1, "sdxl", None), "1_fake/lumina": (1, "lumina", None), "0_real/sdxl": (0, "sdxl", None),
        "0_real/lumina": (0, "lumina", None), "0_real/coco": (0, "real", None),
    },
    "a class joined to a source or a generator": {
        "real_coco": (0, "real", None), "RealLAION": (0, "real", None), "fake_lumina": (1, "lumina", None),
        "AcmeFake": (1, "Acme", None), "fake_sdxl": (1, "sdxl", None),
    },
    "a class joined to a generator beside a plain class": {
        "train/real": (0, "real", "train"), "train/generated_by_acme": (1, "acme", "train"),
        "test/0_real": (0, "real", "test"), "test/1_acme_fake": (1, "acme", "test"),
    },
    "split, class and source in one name": {
        "train_real_coco": (0, "real", "train"), "train_fake_lumina": (1, "lumina", "train"),
        "test_real_coco": (0, "real", "test"), "test_fake_lumina": (1, "lumina", "test"),
    },
    "Fake2M": {"FAKE-SD-v1.5": (1, "SD-v1.5", None), "FAKE-IF-v1.0": (1, "IF-v1.0", None), "REAL-CC3M": (0, "real", None)},
    "kinds of pictures joined to both classes": {
        "real_art_cubism": (0, "real", None), "real_art_modern": (0, "real", None), "ai_art_cubism": (1, "fake", None),
        "ai_art_modern": (1, "fake", None),
    },
    "a class joined to a word beside a name without a class": {
        "real": (0, "real", None), "fake_news": None, "animals": None,
    },
    "a generator called like a picture": {"fake/imagen": (1, "imagen", None), "fake/Imagen3": (1, "Imagen3", None), "real": (0, "real", None)},
    "class, split and generator in one name": {
        "midjourney_train_ai": (1, "midjourney", "train"), "midjourney_train_nature": (0, "midjourney", "train"),
        "sdxl_test_ai": (1, "sdxl", "test"),
    },
    "Hive's partitions": {
        "split=train/label=real": (0, "real", "train"), "split=test/label=fake/generator=lumina": (1, "lumina", "test"),
        "split=test/fake=0": None,
    },
    "a set called after two splits": {
        "ForenSynths_train_val/train/car/0_real": (0, "real", "train"), "ForenSynths_train_val/val/cat/1_fake": (1, "fake", "val"),
    },
    "ways of making": {"img2img/fake": (1, "img2img", None), "txt2img/fake": (1, "txt2img", None), "real": (0, "real", None)},
    "Chinese": {"训练集/真实": (0, "real", "train"), "测试集/AI生成": (1, "fake", "test")},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(layout):
    assert told(*LAYOUTS[layout]) == LAYOUTS[layout]


NESTED = {
    "generators below the classes": ("a/eval/images", ["ai/sdxl", "ai/flux", "real"]),
    "parts below the generators": ("x/bench/v2", ["fake/one/part1", "fake/two/part1", "real/coco"]),
    "generators above": (
        "downloads/GenImage",
        ["ADM/val/ai", "ADM/val/nature", "other/train/ai", "other/train/nature"],
    ),
    "splits": ("mine/set", ["train/real", "train/fake", "tst/real", "tst/fake"]),
    "a set called after a split": ("test_dataset", ["train/real", "train/fake", "test/real", "test/fake"]),
    "a set called after both classes": ("real_vs_fake/ai-or-human", ["train/ai", "train/human"]),
}


@pytest.mark.parametrize("case", NESTED)
def test_it_does_not_matter_where_a_folder_is_opened(case):
    above, folders = NESTED[case]
    deepest = list(told(*folders).values())
    parts = PurePath(above).parts
    for depth in range(len(parts)):
        below = PurePath(*parts[depth:])
        assert list(told(*(str(below / folder) for folder in folders)).values()) == deepest


@pytest.mark.parametrize(
    ("labels", "folders"),
    [
        ({"midjourney": 1, "laion": 0}, {"midjourney": "midjourney", "laion": "real"}),
        ({"midjourney": 1, "laion": 0}, {"midjourney/cats": "midjourney", "midjourney/dogs": "midjourney"}),
        ({"mj": 1, "dalle": 1, "laion": 0}, {"set/mj": "mj", "set/dalle": "dalle", "set/laion": "real"}),
        ({"0": 1, "1": 0}, {"0": "fake", "1": "real"}),
        ({"pos": 1, "neg": 0}, {"sdxl/pos": "sdxl", "sdxl/neg": "sdxl", "flux/pos": "flux"}),
        ({"pos": 1, "neg": 0}, {"pos/sdxl": "sdxl", "neg/coco": "real"}),
        ({"fake": 1, "laion": 0}, {"fake": "fake", "laion": "real"}),
    ],
)
def test_a_folder_that_labels_calls_fake_is_the_generator(labels, folders):
    assert {folder: facts[1] for folder, facts in told(*folders, labels=labels).items()} == folders


def touched(root: Path, *files: str) -> Path:
    """Write files that begin as PNGs do."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"\x89PNG\r\n\x1a\n" + file.encode())
    return root


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            ("real/train_1.png", "real/test_1.png", "fake/train_2.png", "fake/0003-test.png"),
            {"train": 2, "test": 2},
        ),
        (("real/train_1.png", "real/test_1.png", "fake/train_2.png", "fake/3.png"), {None: 4}),
        (("real/train_1.png", "real/train_2.png", "fake/test_1.png", "fake/test_2.png"), {None: 4}),
        (("real/latest_1.png", "real/contest_2.png", "fake/latest_1.png", "fake/contest_2.png"), {None: 4}),
    ],
)
def test_splits_stand_in_file_names_only_where_all_files_and_both_classes_have_them(tmp_path, files, splits):
    assert Counter(sample.split for sample in FolderSource(touched(tmp_path, *files)).samples) == splits


def test_a_split_opened_by_itself_stays_that_split(tmp_path):
    touched(
        tmp_path, *(f"{split}/{name}/1.png" for split in ("Training", "test") for name in ("real", "fake"))
    )
    assert {sample.split for sample in FolderSource(tmp_path / "Training").samples} == {"train"}
    assert {sample.split for sample in FolderSource(tmp_path / "test").samples} == {"test"}
    touched(tmp_path / "alone", "test/real/1.png", "test/fake/1.png", "mine/1.png")
    assert {sample.split for sample in FolderSource(tmp_path / "alone" / "test").samples} == {None}


@pytest.mark.parametrize(
    ("folders", "proposed", "not_proposed"),
    [
        (
            ("biggan_256", "laion", "midjourney"),
            "labels: {biggan_256: …, laion: …, midjourney: …}",
            "biggan_256: real",
        ),
        (("0", "1"), "labels: {0: …, 1: …}", "0: fake"),
        (("label_0", "label_1"), "labels: {label_0: …, label_1: …}", "put the images"),
        (("is_ai/true", "is_ai/false"), "labels: {false: …, true: …}", "put the images"),
        (("fake_true", "fake_false"), "labels: {fake_false: …, fake_true: …}", "put the images"),
        (("fake=0", "fake=1"), "labels: {fake=0: …, fake=1: …}", "put the images"),
        (("128", "256"), "real/ and fake/", "labels"),
        (("v1", "v2"), "real/ and fake/", "labels"),
        (("train", "test"), "real/ and fake/", "labels"),
        (tuple(f"a cat on a chair number {n}" for n in range(20)), "real/ and fake/", "labels"),
        (("one",), "label: real or label: fake", "labels"),
        (("photos", "midjourney"), "labels: {midjourney: …, photos: …}", "photos: real"),
        (
            ("train/laion", "train/mj_v6", "test/laion", "test/mj_v6"),
            "labels: {laion: …, mj_v6: …}",
            "train: ",
        ),
    ],
)
def test_a_hint_proposes_what_the_folders_allow_and_takes_no_side(tmp_path, folders, proposed, not_proposed):
    with pytest.raises(UserError, match="cannot tell real from fake") as caught:
        FolderSource(touched(tmp_path, *(f"{folder}/1.png" for folder in folders)))
    assert proposed in caught.value.hint
    assert not_proposed not in caught.value.hint
    assert "label: real or label: fake" in caught.value.hint


def test_kinds_of_pictures_of_both_classes_are_named_with_the_layout_that_makes_them_generators(tmp_path):
    touched(
        tmp_path, *(f"train/{name}/{kind}/1.png" for name in ("real", "fake") for kind in ("cats", "dogs"))
    )
    source = FolderSource(tmp_path)
    assert {sample.generator for sample in source.samples} == {"real", "fake"}
    (notice,) = source.notices
    assert "cats, dogs" in notice
    layout = notice.partition("layout: ")[2]
    said = FolderSource(tmp_path, layout=tuple(layout.split("/")))
    assert {(s.generator, s.split, s.label) for s in said.samples} == {
        (kind, "train", label) for kind in ("cats", "dogs") for label in (0, 1)
    }


def test_images_that_links_lead_to_are_not_called_left_out(tmp_path):
    touched(tmp_path, "pool/1.png", "pool/2.png", "sdxl/fake/1.png", "flux/fake/1.png", "odd/1.png")
    for generator in ("sdxl", "flux"):
        (tmp_path / generator / "real").symlink_to("../pool", target_is_directory=True)
    source = FolderSource(tmp_path)
    assert Counter(sample.label for sample in source.samples) == {0: 2, 1: 2}
    assert any("1 image is left out: its folder names no class (odd)" in n for n in source.notices)


def test_true_and_false_below_a_class_are_asked_for(tmp_path):
    touched(tmp_path, "ai/true/1.png", "ai/false/1.png")
    with pytest.raises(UserError, match="'false' below may turn it round") as caught:
        FolderSource(tmp_path)
    assert "labels: {false: fake} or labels: {false: real}" in caught.value.hint
    said = FolderSource(tmp_path, labels={"false": 0, "true": 1})
    assert {sample.id: sample.label for sample in said.samples} == {"ai/false/1.png": 0, "ai/true/1.png": 1}
    assert {sample.label for sample in FolderSource(tmp_path, layout=("class", "category")).samples} == {1}


def test_the_labels_of_hives_partitions_can_be_said(tmp_path):
    touched(tmp_path, "fake=0/1.png", "fake=1/2.png")
    said = FolderSource(tmp_path, labels={"fake=0": 0, "fake=1": 1})
    assert [(sample.id, sample.label) for sample in said.samples] == [
        ("fake=0/1.png", 0),
        ("fake=1/2.png", 1),
    ]


def test_labels_that_no_folder_has_are_named(tmp_path):
    touched(tmp_path, "midjourney/1.png", "laion/1.png")
    source = FolderSource(tmp_path, labels={"midjourney": 1, "laoin": 0})
    assert any("no folder is called laoin" in notice for notice in source.notices)
    said = SourceSpec(source="x", labels={" RÉEL ": "real"}).labels
    assert label_of("re\u0301el", dict.fromkeys(said, 0)) == 0  # Composed or not.


@pytest.mark.parametrize(
    ("folders", "typed"),
    [
        (("real/a/lumina", "fake/a/lumina", "real/b/acme", "fake/b/acme"), "layout: class/generator or layout: class/category/generator"),
        (("real/lumina", "fake/lumina", "fake/a", "fake/b", "fake/c"), "layout: class/generator"),
        (("train_real/acme", "train_fake/acme", "test_real/acme", "test_fake/acme"), "put class folders into each of them"),
        (("real/people", "fake/lumina/people", "fake/acme/people"), ""),
    ],
)  # fmt: skip
def test_what_to_type_where_kinds_of_pictures_are_generators(tmp_path, folders, typed):
    (notice,) = FolderSource(touched(tmp_path, *(f"{folder}/1.png" for folder in folders))).notices
    assert notice.partition("; if they are generators, ")[2] == typed
    for layout in typed.split(" or ") if "layout" in typed else []:
        FolderSource(tmp_path, layout=tuple(layout.removeprefix("layout: ").split("/")))


@pytest.mark.parametrize(
    ("folders", "typed"),
    [
        (("real", "midjourney"), "labels: {midjourney: …}"),
        (("train/real", "train/midjourney", "test/real", "test/midjourney"), "labels: {midjourney: …}"),
        (("real", "acme/cats", "acme/dogs", "bolt/cats"), "labels: {acme: …, bolt: …}"),
        (("set/real", "set/fake", "more/photos_flickr/2019"), "labels: {photos_flickr: …}"),
        (("real", "fake", "images"), "labels: {images: …}"),
        (("real", "fake", "."), ""),
    ],
)
def test_the_line_on_images_that_are_left_out_says_what_to_type(tmp_path, folders, typed):
    (notice,) = FolderSource(touched(tmp_path, *(f"{folder}/1.png" for folder in folders))).notices
    assert notice.is_warning
    assert notice.partition("; if they are real or fake, say which: ")[2] == typed


def test_classes_that_are_read_from_joined_names_are_told(tmp_path):
    source = FolderSource(touched(tmp_path, "real_coco/1.png", "fake_lumina/2.png"))
    (notice,) = source.notices
    assert "a word in the folder's name: real real_coco; fake fake_lumina" in notice
    assert notice.endswith("if not, labels: {real_coco: …, fake_lumina: …}")
    other = FolderSource(tmp_path, labels={"real_coco": 1, "fake_lumina": 0})
    assert [(sample.label, sample.generator) for sample in other.samples] == [(0, "real"), (1, "real_coco")]
