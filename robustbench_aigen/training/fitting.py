"""Training of one network, from the start or from a checkpoint."""

import io
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from robustbench_aigen.detectors.depthwise import keep_depthwise_float32
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.digests import DamagedFileError, with_digest, without_digest
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import atomic_file, discard, remove_leftovers, require_regular, writing
from robustbench_aigen.numerics.precision import resolve_precision
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.text import counted
from robustbench_aigen.training.batches import InOrder, LabelledRows, Shuffled, stream
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.module import TrainedNetwork
from robustbench_aigen.training.recipe import Settings

_SAVE_SECONDS = 120.0
"""Seconds between checkpoints inside an epoch: the largest loss of a killed training."""


def fit(
    settings: Settings,
    train: LabelledRows,
    val: LabelledRows,
    checkpoint: Path,
    *,
    name: str,
    identity: str,
    device: torch.device,
    progress: Progress,
    make: Callable[[int], TrainedNetwork] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Fitted:
    """Train a network and return it with its best epoch's weights.

    Parameters
    ----------
    settings
        Settings of the training.
    train, val
        Training images, and the validation images that decide which epoch is kept.
    checkpoint
        Written after every epoch and every two minutes; an existing checkpoint is resumed.
    name
        Name for the progress.
    identity
        Identity of this training; a checkpoint of another training is refused.
    device
        The device.
    progress
        Receives the progress of every batch and every epoch.
    make
        Returns the network to train for a number of steps; None is a new network of the settings' architecture.
    callbacks
        Called before a checkpoint is written.

    Raises
    ------
    UserError
        If the loss is NaN or infinite, the checkpoint is of another training, or another process is at work in
        its folder.
    """
    batches = Shuffled(train, settings.batch_size, settings.seed, balance=settings.balance)
    precision = resolve_precision(settings.precision, device)
    with _alone(checkpoint.parent), preserved_global_rng(), _quiet():
        steps = settings.epochs * len(batches)
        module = make(steps) if make is not None else TrainedNetwork(_untrained(settings), settings, steps)
        network = module.network.to(memory_format=torch.channels_last)
        if precision == "bf16" and device.type == "cpu":
            keep_depthwise_float32(network)
        keeper = _Checkpointing(checkpoint, identity, batches, name, progress)
        finished = keeper.resume()
        watching: list[Callback] = [_Watch(name, settings.epochs, progress), *callbacks, keeper]
        if settings.early_stopping is not None:
            mode = "min" if settings.select == "loss" else "max"
            stopping = EarlyStopping("val", patience=settings.early_stopping, mode=mode, check_finite=False)
            watching.append(stopping)
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=settings.epochs,
            callbacks=watching,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            # What is measured on validation may need gradients to the pixels.
            inference_mode=False,
            plugins=[_Stored()],
        )
        progress.start(settings.epochs * len(batches) * batches.batch_size)
        if finished:
            _restore(module, checkpoint)
        else:
            validation = InOrder(val, max(settings.batch_size, 128))
            _run(trainer, module, batches, validation, checkpoint)
    network.load_state_dict(module.best_weights)
    return Fitted(
        network.cpu().eval(),
        settings.untrained_options,
        precision,
        keeper.seconds,
        steps=len(module.history) * len(batches),
        history=module.history,
        best_epoch=module.best_epoch,
        stopped_early=len(module.history) < settings.epochs,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock a folder against other trainings, which would read the wrong checkpoints.

    The system releases the lock when the process ends.
    """
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        hint = "wait for it, or choose another --output"
        raise UserError("another training is running in this folder", file=folder, hint=hint) from error
    try:
        yield
    finally:
        lock.release()


def _untrained(settings: Settings) -> nn.Module:
    torch.manual_seed(stream(settings.seed, "weights"))
    return build_architecture(settings.arch, **settings.network_options)


def _run(
    trainer: lightning.Trainer, module: TrainedNetwork, batches: Shuffled, val: InOrder, checkpoint: Path
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        resumed = str(checkpoint) if checkpoint.is_file() else None
        trainer.fit(module, batches, val, ckpt_path=resumed, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into exit code 1, which is the gate's.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _restore(module: TrainedNetwork, checkpoint: Path) -> None:
    module.on_load_checkpoint(_Stored().load_checkpoint(checkpoint))


class _Watch(Callback):
    """Reports the progress, and stops if the loss is NaN or infinite."""

    def __init__(self, name: str, epochs: int, progress: Progress) -> None:
        self.name, self.epochs, self.progress = name, epochs, progress
        self._began = time.perf_counter()

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        done = trainer.global_step
        if done:
            batches: Shuffled = trainer.train_dataloader  # type: ignore[assignment]
            self.progress.notice(f"{self.name}: continues after {counted(done, 'step')}")
            self.progress.advance(done * batches.batch_size)

    def on_train_epoch_start(self, _: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._began = time.perf_counter()
        self._describe(pl_module)

    def _describe(self, module: lightning.LightningModule) -> None:
        assert isinstance(module, TrainedNetwork)
        last = f", validation {100 * module.history[-1]['val_accuracy']:.1f} %" if module.history else ""
        self.progress.work_on(self.name, f"epoch {len(module.history) + 1}/{self.epochs}{last}")

    def on_train_batch_end(self, *arguments: Any) -> None:
        levels: Tensor = arguments[3][0]
        self.progress.advance(len(levels))

    def on_train_epoch_end(self, _: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # The module's own hook runs after this hook, and the hook of checkpoints last.
        assert isinstance(pl_module, TrainedNetwork)
        pl_module.close_epoch()
        row = pl_module.history[-1]
        if not torch.tensor([row["train_loss"], row["val_loss"]]).isfinite().all():
            raise UserError(
                f"{self.name}: training diverged: the loss is NaN or infinite in epoch {row['epoch']:.0f}",
                hint="try a smaller learning_rate, or precision: fp32",
            )
        self.progress.notice(
            f"{self.name}: epoch {row['epoch']:.0f}/{self.epochs}, {pl_module.told()}; "
            f"{time.perf_counter() - self._began:.0f} s"
        )


class _Stored(CheckpointIO):
    """Checkpoints written atomically, with their sha256."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        del storage_options
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_file(Path(path), own=True) as stream:
            stream.write(with_digest(buffer.getvalue()))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        require_regular(Path(path))
        content = without_digest(Path(path).read_bytes())
        checkpoint: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        discard(Path(path))


class _Checkpointing(Checkpoint):
    """Writes a checkpoint atomically after every epoch and regularly inside an epoch."""

    def __init__(self, file: Path, identity: str, batches: Shuffled, name: str, progress: Progress) -> None:
        self.file, self.identity, self.batches, self.name, self.progress = (
            file,
            identity,
            batches,
            name,
            progress,
        )
        self.seconds = 0.0
        self._finished = False
        self._since = self._saved = time.monotonic()

    def resume(self) -> bool:
        """Whether the checkpoint belongs to a finished training; otherwise continue after its last batch.

        A damaged checkpoint is removed, and the training starts again.

        Raises
        ------
        UserError
            If it is not of this training.
        """
        if not self.file.exists():
            return False
        try:
            said = _Stored().load_checkpoint(self.file)["callbacks"][self.state_key]
        except Exception as error:  # noqa: BLE001  What torch.load raises on damaged files is of many kinds.
            reason = error if isinstance(error, DamagedFileError) else "the file cannot be read"
            self.progress.notice(f"{self.name}: starts again, because {self.file} is damaged: {reason}")
            with writing():
                discard(self.file)
            return False
        if said["identity"] != self.identity:
            raise UserError(
                "the folder has an unfinished training with other settings or images",
                file=self.file,
                hint="--fresh discards that training and starts again; another --output or --name keeps both",
            )
        self.seconds = said["seconds"]
        self.batches.go_to(said["place"])
        return bool(said["finished"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "finished": self._finished,
            "seconds": self._elapsed(),
            "place": self.batches.place(),
        }

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._since

    def on_train_start(self, *_: Any) -> None:
        self._since = self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        # The validation lies between the last batch and the end of the epoch, and is not resumed.
        inside = self.batches.next_batch > 0
        if inside and time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save(trainer, finished=False)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainedNetwork)
        last = len(pl_module.history) == trainer.max_epochs
        self._save(trainer, finished=trainer.should_stop or last)

    def on_train_end(self, *_: Any) -> None:
        self.seconds = self._elapsed()

    def _save(self, trainer: lightning.Trainer, *, finished: bool) -> None:
        self._finished = finished
        with writing("the checkpoint"):
            trainer.save_checkpoint(self.file)
        self._saved = time.monotonic()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's advertisements and its advice on data loaders."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)
