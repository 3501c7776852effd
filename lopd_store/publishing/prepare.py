"""Everything that a push does before the first byte goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from lopd_store.artifacts import Artifact, load, noises
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.work import Work, at_work
from lopd_store.digest import Digest, tagged
from lopd_store.errors import FormatError, IntegrityError, UsageError
from lopd_store.hub import committing
from lopd_store.hub.snapshot import Snapshot
from lopd_store.keys import PrivateKey
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.histogram import draw
from lopd_store.publishing.card.statistics import measure
from lopd_store.publishing.contents import contents
from lopd_store.publishing.derive import derive
from lopd_store.publishing.destination import Destination, card_in, head, require_free
from lopd_store.publishing.push import Push
from lopd_store.publishing.pushed import Pushed
from lopd_store.remote.artifact import artifact_at, open_artifact
from lopd_store.remote.layout import Place, places
from lopd_store.rows.precision import Precision
from lopd_store.signing import envelopes, sign, signers
from lopd_store.store import Store

_TAG: Final = "lopd.push.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """How an artifact is published.

    Attributes:
        texts: add `prompt_text` and `response_text` beside the ids.
        precision: round log-probs so far; None leaves them.
        key: sign what is pushed with it.
        license: for the card, such as `apache-2.0`; None leaves the card's own.
        private: whether a repository that is made now is private; None as the organisation has it.
    """

    texts: bool = True
    precision: Precision | None = None
    key: PrivateKey | None = None
    license: str | None = None
    private: bool | None = None


def push(
    store: Store,
    ref: str,
    name: str,
    *,
    options: PushOptions | None = None,
    progress: Progress | None = None,
) -> Pushed:
    """Publish an artifact on the Hub, at `org/name[/config[/split]][@version]`.

    Text is added beside the ids unless the options say otherwise: what is published is then
    another artifact, which the store keeps under the name it has on the Hub.

    Raises as `prepared` and `Push.run` do; UsageError on a name that is none.
    """
    progress = progress or Silence()
    destination = Destination.parse(name)
    with prepared(store, ref, destination, options or PushOptions(), progress) as ready:
        return ready.run(progress)


@contextmanager
def prepared(
    store: Store, ref: str, destination: Destination, options: PushOptions, progress: Progress
) -> Iterator[Push]:
    """Make what is to be pushed, look at the repository, and hold both until the block ends.

    Nothing is sent.

    Raises:
        NotFoundError, IntegrityError, FormatError: the artifact is missing or damaged.
        HubError: no token, one that may not write there, or no answer.
        UsageError: the version is taken, or is there without the signature that it is to have;
            or other splits of the config have other columns.
        FormatError: a card, or other files, that do not go with what is pushed.
    """
    name = tagged(_TAG, destination.repo.encode(), str(destination.place).encode()).hex
    with at_work(store, f"push-{name}", progress=progress) as work:
        committing.require_writer(destination.repo)
        base = head(destination.repo) if committing.exists(destination.repo) else None
        source = load(store, ref)
        work.hold(source.id)
        artifact = derive(
            store,
            source,
            texts=options.texts,
            precision=options.precision,
            progress=progress,
            hold=work.hold,
        )
        landed = require_free(destination, artifact.id) if base else None
        if base is not None:
            _take_in(store, base, destination.place, artifact.id, work, progress)
        if options.key is not None:
            sign(store, str(artifact.id), options.key)
        push = _push(artifact, source.id, destination, base, options)
        push.landed = landed
        if options.key is not None and landed is not None:
            _require_signed(push, landed)
        yield push


def _push(
    artifact: Artifact,
    source: Digest,
    destination: Destination,
    base: Snapshot | None,
    options: PushOptions,
) -> Push:
    """All rows are read; what cannot be merged with what is there is said before it is sent."""
    facts = _facts(artifact, destination)
    push = Push(
        store=artifact.store,
        destination=destination,
        facts=facts,
        contents=contents(artifact, destination.place, picture=draw(facts.statistics)),
        source=source,
        base=base,
        license=options.license,
        private=options.private,
    )
    push.contents.require_alone(base)
    push.card(card_in(base))
    return push


def _require_signed(push: Push, landed: str) -> None:
    """Raise UsageError where a version is there without the signature that it is to have."""
    there = Snapshot.open(push.destination.repo, revision=landed)
    if any("/signature-" in file.path for file in push.contents.missing_from(there)):
        raise UsageError(
            f"{push.destination}: expected a version to sign, found one that is there without this"
            " signature, and versions do not move: push to another version, or to none"
        )


def _take_in(
    store: Store, base: Snapshot, place: Place, artifact: Digest, work: Work, progress: Progress
) -> None:
    """Evidence that others attached to the same artifact there: a push would take it away."""
    if place not in places(base.files) or artifact_at(base, place) != artifact:
        return
    known = {one.digest for one in store.evidence(artifact)}
    try:
        there = open_artifact(base, place)
        for manifest, layers in there.read_evidence():
            if manifest.digest in known:
                continue
            for data in (*layers, there.read(manifest.config), manifest.encode()):
                work.hold(Digest.of(data))
                store.blobs.put(data)
            store.refs.attach(manifest.descriptor())
    except (IntegrityError, FormatError) as error:
        progress.say(f"what is there is damaged, and is replaced: {error}")


def _facts(artifact: Artifact, destination: Destination) -> CardFacts:
    return CardFacts(
        repo=destination.repo,
        place=destination.place,
        version=destination.version,
        artifact=artifact,
        noises=tuple(noises(artifact.store, artifact.id)),
        statistics=measure(artifact.open_shards()),
        signed_by=signers(list(envelopes(artifact.store, artifact.id))),
    )
