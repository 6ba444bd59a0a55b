"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from hgfast import _checks
from hgfast._errors import TrainingError, TrainingStopped
from hgfast.checkpoint import save_checkpoint
from hgfast.data import EpochSampler, make_loader
from hgfast.files import write_text
from hgfast.models.common import PoseNetwork
from hgfast.predict import Predictor
from hgfast.progress import progress_bar
from hgfast.train import build, state
from hgfast.train.config import Config, ConfigError, to_toml
from hgfast.train.evaluate import all_finite, evaluate
from hgfast.train.lock import hold
from hgfast.train.log import RunLog, TensorBoard, draw_curves, line_of, shown_in_curves
from hgfast.train.own import complete, notes
from hgfast.train.parallel import World
from hgfast.train.parts import truth_file
from hgfast.train.schedule import learning_rate
from hgfast.train.signals import StopRequest
from hgfast.train.start import load_weights
from hgfast.train.step import Batch, TrainingStep

_SECONDS_A_LINE = 5.0
_SECONDS_A_DRAWING = 30.0  # of the curves, which takes more than half a second
_STEPS_A_POINT = 10  # of TensorBoard's curve of the loss
_STOP, _FAILED = 1, 2  # what a process says to the others before each step, the higher for the worse


class Trainer:
    """Trains the network of a configuration, validates it, and keeps checkpoints in ``config.output``.

    The folder gets ``config.toml``, ``log.csv``, ``curves.png``, ``last.pt`` (everything, for resuming), ``best.pt``
    (weights of the best validation so far, the averaged ones where ``config.ema`` is set) and, if wanted, events for
    TensorBoard. Files are replaced as a whole, so that a crash at any moment leaves the previous ones. A resumed run
    goes on bit for bit as if it had not stopped.

    Under ``torchrun`` the processes share every epoch, ``config.batch_size`` samples each.

    Args:
        config: settings.
        resume: go on from ``last.pt`` where there is one.
        quiet: no progress bars.
        say: receives lines of text for the user.

    Raises:
        TypeError: another kind of argument.
        ConfigError: the output folder holds a run and ``resume`` is off, another training is writing there, or the
            settings do not fit together.
        CheckpointError: ``last.pt`` is damaged, or the file ``config.weights`` is, or is for another network.
        ImportError: a package that the settings need is missing.
    """

    def __init__(
        self, config: Config, resume: bool = False, quiet: bool = False, say: Callable[[str], Any] = print
    ) -> None:
        _checks.instance("Trainer", "config", config, Config)
        _checks.flag("Trainer", "resume", resume), _checks.flag("Trainer", "quiet", quiet)
        _checks.function("Trainer", "say", say)
        self.folder = Path(config.output)
        self.last = self.folder / "last.pt"  # the state to go on from
        self._refuse_what_is_there(resume)
        self.config = config = complete(config)
        build.check_beforehand(config)
        device = build.choose_device(config.device)
        self.world = World.join(device.type)
        self.device = self.world.device(device)
        self.quiet, self.say = quiet or not self.world.is_main, say if self.world.is_main else lambda _: None
        for line in notes(config):
            self.say(line)
        self.train_set, self.val_set = build.make_dataset(config, "train"), build.make_dataset(config, "val")
        self.sampler = EpochSampler(
            len(self.train_set), config.batch_size, True, config.seed, self.world.rank, self.world.size
        )
        self.loader = make_loader(self.train_set, self.sampler, config.workers)
        self.model = build.place(self._new_model(), self.device)
        self.step = TrainingStep(config, self.model, self.device, self.world, self.say)
        self._lock = hold(self.folder) if self.world.is_main else None  # until the training is done
        self._refuse_what_is_there(resume)
        self.position = state.Position()
        self.metrics: dict[str, float] = {}
        if self.last.exists():
            self._go_on()
        self._saved = self.position.step
        self.stop, self._heard = StopRequest(), 0
        self._pending: Tensor | None = None
        self._last_line, self._last_drawing = 0.0, time.perf_counter()
        if self.world.is_main:
            write_text(self.folder / "config.toml", to_toml(config))
            self.log = RunLog(self.folder / "log.csv", first_epoch=self.position.epoch)
            self.board = TensorBoard(self.folder, self.position.step) if config.tensorboard else None

    def _refuse_what_is_there(self, resume: bool) -> None:
        if self.last.exists() and not resume:
            raise ConfigError(f"{self.folder} already holds a training run: resume it or choose another output folder")

    def _new_model(self) -> PoseNetwork:
        """Build the network with the weights that a new run begins with."""
        model = build.make_model(self.config)
        if self.config.weights and not self.last.exists():
            for line in load_weights(self.config, model):
                self.say(line)
        return model

    def _go_on(self) -> None:
        content = state.read_state(self.last)
        self.position = state.restore(content, self.last, self.step, self.world)
        self.metrics = content["meta"]["metrics"]
        if changed := state.differences(state.stored_config(content, self.last), self.config):
            self.say(f"going on with other settings than before: {', '.join(changed)}")

    def fit(self) -> dict[str, float]:
        """Trains to the end and returns the last validation's measures, none where there was no epoch to be done.

        Where an error ends it between two steps (a picture is missing, a loader process was killed, a validation
        fails), what was trained is saved first, also where it is one of several processes that has the error.

        Raises:
            TrainingError: the loss or a weight is not finite any more, or another process could not go on.
            TrainingStopped: SIGINT or SIGTERM; the state is saved.
            ConfigError: another training has begun to write into the folder.
            OSError, ValueError: a picture cannot be read, a file not written.
        """
        with self.stop, hold(self.folder) if self.world.is_main else nullcontext():
            while self.position.epoch < self.config.epochs:
                started, first_batch = time.perf_counter(), self.position.batch
                self._train_epoch()
                images = len(self.train_set) - first_batch * self.config.batch_size * self.world.size
                self._finish_epoch(max(0, images) / (time.perf_counter() - started))
        return self.metrics

    def _train_epoch(self) -> None:
        position = self.position
        self.step.begin_epoch()
        self.sampler.epoch, self.sampler.start = position.epoch, position.batch
        bar = progress_bar(f"epoch {position.epoch + 1}/{self.config.epochs}", self.quiet)(self.loader)
        for batches in self._loaded(bar):
            rate = learning_rate(self.config, position.step, position.epoch)
            self._settle(self.step(batches, rate, position.step))
            position.batch += len(batches)
            position.step += 1
            if position.step % 10 == 0 and (done := self._steps_done() - 1):
                bar.set_postfix_str(f"loss {position.loss_sum / done:.3g}")
            stop = self._should_stop()
            due = self.config.checkpoint_steps and position.step % self.config.checkpoint_steps == 0
            if due or stop:
                self._save_last()
            if stop:
                self._end_here()
        self._settle()

    def _loaded(self, batches: Iterable[Batch]) -> Iterator[list[Batch]]:
        """Yield what each step is to see; the last one of an epoch may have fewer batches."""
        iterator = iter(batches)
        while True:
            group, error = [], None
            try:
                group = list(islice(iterator, self.config.accumulate))
            except (OSError, ValueError) as raised:
                error = raised
            self._heard = self.world.highest(_FAILED if error else int(self.stop.asked))
            if self._heard == _FAILED:
                self._end_for(error or TrainingError("another process could not go on, and says why"))
            if not group:
                return
            yield group

    def _end_for(self, error: Exception) -> NoReturn:
        """End for an error of which all processes know: none has begun the next step."""
        if self.position.step > self._saved:
            self._save_last()
            if self.stop.asked:
                self._end_here()
            self.say(f"saved after step {self.position.step}: {self.folder} has the state to go on from")
        raise error

    def _end_here(self) -> NoReturn:
        self._draw()
        raise TrainingStopped(f"stopped at step {self.position.step}; {self.folder} has the state to go on from")

    def _steps_done(self) -> int:  # of this epoch
        return -(-self.position.batch // self.config.accumulate)

    def _should_stop(self) -> bool:
        return self.stop.asked if self.world.size == 1 else self._heard == _STOP

    def _settle(self, begun: Tensor | None = None) -> None:
        """Read the loss of the step before while the next one, whose loss is `begun`, keeps a GPU busy."""
        pending, self._pending = self._pending, begun
        if pending is None:
            return
        loss = float(pending)
        if not math.isfinite(loss):
            raise state.diverged(f"the loss is {loss}", self.config, self.position, self.last)
        self.position.loss_sum += loss
        if self.world.is_main and self.board and self.position.step % _STEPS_A_POINT == 0:
            self.board.add({"loss of the step": loss}, self.position.step)

    def _finish_epoch(self, images_per_second: float) -> None:
        position, config = self.position, self.config
        done, at_end = position.epoch + 1, position.epoch + 1 == config.epochs
        validate = at_end or done % config.val_interval == 0
        if validate and position.step > self._saved:
            self._save_last()  # whatever goes wrong in the validation: who goes on from here begins with it
        for model in self.step.models:
            self.world.average_buffers(model)
        row = {
            "epoch": position.epoch,
            "step": position.step,
            "lr": learning_rate(config, position.step - 1, position.epoch),
            "loss": self.world.mean(position.loss_sum / self._steps_done(), self.device),
            "images_per_second": images_per_second,
        }
        if validate:
            self.metrics = self.validate()
            row |= self.metrics
            self._keep_best()
        if self.world.is_main:
            self._record(row)
        position.epoch, position.batch, position.loss_sum = done, 0, 0.0
        if at_end or done % config.checkpoint_interval == 0:
            self._save_last()
            if at_end or time.perf_counter() - self._last_drawing > _SECONDS_A_DRAWING:
                self._draw()

    def _draw(self) -> None:
        self._last_drawing = time.perf_counter()
        if self.world.is_main:
            draw_curves(self.log.rows, self.folder / "curves.png", shown_in_curves(self.metrics))

    def _record(self, row: dict[str, float]) -> None:
        """Into the files; and a line of text for every validation, and at least every few seconds."""
        self.log.append(row)
        if self.board:
            self.board.add(row, self.position.step)
        if self.config.monitor in row or time.perf_counter() - self._last_line > _SECONDS_A_LINE:
            self._last_line = time.perf_counter()
            self.say(line_of(row, self.config.epochs))

    def make_predictor(self) -> Predictor:
        """Build a predictor with the weights as they are now, the averaged ones where there are such."""
        return build.make_predictor(self.config, self.step.evaluated, self.step.codec, self.device)

    def validate(self) -> dict[str, float]:
        """Accuracy on the validation set."""
        bar, config = progress_bar("validation", self.quiet), self.config
        return evaluate(
            self.make_predictor(),
            self.val_set,
            pixel_origin=config.pixel_origin,
            annotations=truth_file(config, "val"),
            workers=config.workers,
            progress=lambda batches: self._until_stopped(bar(batches)),
            world=self.world,
        )

    def _until_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.stop.asked and self.world.size == 1:
                self._end_here()
            yield batch

    def _keep_best(self) -> None:
        """Keep weights better than all before; and the newest ones as long as nothing could be measured."""
        position, value = self.position, self.metrics[self.config.monitor]
        sign, finite = -1 if self.config.lower_is_better else 1, math.isfinite(value)
        if position.best is None or (finite and sign * value > sign * position.best):
            self._check_weights()
            if finite:
                position.best, position.best_epoch = value, position.epoch
            if self.world.is_main:
                best = self.folder / "best.pt"
                save_checkpoint(self.step.evaluated, best, meta=state.checkpoint_meta(self.config, self.metrics))

    def _save_last(self) -> None:
        self._settle()
        self._check_weights()
        ranks = self.world.gather(state.own_values(self.step.models, self.position))
        if self.world.is_main:
            meta = state.checkpoint_meta(self.config, self.metrics)
            state.save_state(self.last, meta, self.step, self.position, ranks)
        self._saved = self.position.step

    def _check_weights(self) -> None:
        if not all_finite(self.model):
            raise state.diverged("a weight is not finite", self.config, self.position, self.last)
