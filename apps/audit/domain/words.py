"""Ledger entries as sentences: "ada registered card-fraud-score v42". Pure."""

from dataclasses import dataclass
from datetime import datetime

SENTENCES = {
    "registry.model.create": "created the model {subject}",
    "registry.model.edit": "edited {subject}",
    "registry.model.archive": "archived the model {subject}",
    "registry.model.restore": "restored the model {subject}",
    "registry.version.register": "registered {subject}",
    "registry.version.adopt": "read the files of {subject}",
    "registry.version.edit": "edited {subject}",
    "registry.version.learn": "learnt the signature of {subject}",
    "registry.version.validate": "validated {subject}",
    "registry.version.reject": "rejected {subject}",
    "registry.version.archive": "archived {subject}",
    "registry.version.restore": "restored {subject}",
    "registry.alias.move": "moved the alias {subject}",
    "registry.alias.remove": "removed the alias {subject}",
    "builds.start": "asked for a build of {subject}",
    "builds.cancel": "cancelled a build of {subject}",
    "builds.retry": "asked again for a build of {subject}",
    "endpoints.serve": "asked to serve {subject}",
    "endpoints.retire": "retired {subject}",
    "endpoints.route.put_back": "put the route of {subject} back",
    "endpoints.scale": "scaled {subject}",
    "endpoints.key.create": "made a key for {subject}",
    "endpoints.key.revoke": "revoked a key of {subject}",
    "endpoints.open": "let callers into {subject} without a key",
    "endpoints.revision.start": "started {subject}",
    "endpoints.revision.warm": "warmed {subject} up",
    "endpoints.revision.verify": "asked {subject} its golden requests",
    "endpoints.revision.shift": "made {subject} ready for requests",
    "endpoints.revision.revive": "called {subject} back",
    "endpoints.revision.settle": "put {subject} into service",
    "endpoints.revision.fail": "could not start {subject}",
    "endpoints.revision.drain": "took traffic from {subject}",
    "endpoints.revision.retire": "stopped {subject}",
    "builds.succeed": "finished {subject}",
    "builds.fail": "could not finish {subject}",
    "registry.alias.put_back": "put the alias {subject} back",
    "registry.upload": "began to upload {subject}",
    "registry.upload.finish": "uploaded {subject}",
    "registry.upload.abandon": "gave up the upload of {subject}",
    "registry.upload.expire": "dropped the unfinished upload of {subject}",
    "endpoints.serve_protected": "asked to serve {subject}",
    "monitoring.feedback": "told outcomes of {subject}",
    "environments.edit": "edited the environment {subject}",
    "environments.freeze": "froze {subject}",
    "environments.freeze.end": "ended the freeze of {subject}",
    "environments.window": "declared a change window of {subject}",
    "environments.window.end": "ended a change window of {subject}",
    "slos.objective.edit": "edited the objectives of {subject}",
    "gates.run": "asked to run {subject}",
    "gates.judge": "judged {subject}",
    "gates.evidence.record": "recorded evidence: {subject}",
    "gates.waive": "waived {subject}",
    "gates.waive.withdraw": "withdrew the waiver of {subject}",
    "gates.policy.edit": "edited the policy {subject}",
    "gates.checklist.open": "opened the checklist of {subject}",
    "gates.checklist.change": "changed what the checklist of {subject} is about",
    "gates.checklist.close": "closed the checklist of {subject}",
    "gates.checklist.follow": "moved {subject} to the policy in force",
    "approvals.ask": "asked for approval of {subject}",
    "approvals.approve": "approved {subject}",
    "approvals.request_changes": "asked for changes to {subject}",
    "approvals.decline": "declined {subject}",
    "approvals.take_back": "took back a decision on {subject}",
    "approvals.grant": "completed the approval of {subject}",
    "approvals.reopen": "opened the approval of {subject} again",
    "approvals.withdraw": "withdrew the request for {subject}",
    "approvals.void": "voided what was decided on {subject}",
    "approvals.expire": "let the request for {subject} expire",
    "approvals.remind": "reminded of {subject}",
    "approvals.delegate": "handed the deciding over: {subject}",
    "approvals.end_delegation": "took the deciding back: {subject}",
    "releases.propose": "proposed {subject}",
    "releases.revise": "revised {subject}",
    "releases.withdraw": "withdrew {subject}",
    "releases.comment": "commented on {subject}",
    "releases.approve": "approved {subject}",
    "releases.request_changes": "asked for changes to {subject}",
    "releases.decline": "declined {subject}",
    "releases.break_glass": "broke the glass for {subject}",
    "releases.roll_back": "rolled {subject} back",
    "releases.review": "reviewed {subject}",
    "releases.promote": "promoted {subject}",
    "releases.authorize": "authorized {subject}",
    "releases.start": "began to roll out {subject}",
    "releases.go_live": "brought {subject} live",
    "releases.expire": "let {subject} expire",
    "releases.supersede": "superseded {subject}",
    "releases.check": "sent {subject} to its checks",
    "releases.build": "sent {subject} to be built",
    "releases.ask": "asked for approval of {subject}",
    "analysis.begin": "began to judge {subject}",
    "analysis.step": "began to judge a step of {subject}",
    "analysis.judge": "judged {subject}",
    "analysis.limit": "saw a hard limit passed by {subject}",
    "analysis.fault": "could not judge {subject}",
    "analysis.recover": "could judge {subject} again",
    "analysis.pass": "passed {subject}",
    "analysis.fail": "failed {subject}",
    "analysis.leave": "ended the judging of {subject} without a proof",
    "rollouts.begin": "began {subject}",
    "rollouts.inject_fault": "injected the fault of {subject}",
    "rollouts.start": "found room for {subject}",
    "rollouts.advance": "took {subject} a step on",
    "rollouts.reallocate": "moved the split of {subject}",
    "rollouts.skip": "skipped a step of {subject}",
    "rollouts.template.save": "wrote the strategy {subject}",
    "rollouts.template.remove": "removed the strategy {subject}",
    "rollouts.pause": "paused {subject}",
    "rollouts.resume": "resumed {subject}",
    "rollouts.promote": "gave all traffic to {subject}",
    "rollouts.settle": "finished {subject}",
    "rollouts.abort": "aborted {subject}",
    "rollouts.restore": "sent traffic back: {subject}",
    "rollouts.cancel": "cancelled {subject}",
    "audit.export": "exported {subject}",
    "audit.drop": "dropped {subject} from the database",
    "accounts.person.manage": "changed the account of {subject}",
    "accounts.password.change": "changed the password",
    "accounts.grant.manage": "changed the roles of {subject}",
    "accounts.team.manage": "changed the team {subject}",
    "accounts.token.create": "made the token {subject}",
    "accounts.token.revoke": "revoked the token {subject}",
    "accounts.email.change": "gave another mail address",
    "notifications.channel.create": "made {subject}",
    "notifications.channel.edit": "edited {subject}",
    "notifications.channel.test": "tested {subject}",
    "notifications.channel.enable": "enabled {subject}",
    "notifications.channel.disable": "disabled {subject}",
    "notifications.channel.rotate": "made a new secret for {subject}",
    "notifications.channel.remove": "removed {subject}",
    "notifications.delivery.replay": "sent again {subject}",
    "notifications.follow": "chose {subject}",
    "accounts.sign_in": "signed in",
    "accounts.sign_out": "signed out",
}
TONES = {
    "registry.version.validate": "validated",
    "registry.version.reject": "rejected",
    "builds.fail": "failed",
    "builds.succeed": "succeeded",
    "endpoints.retire": "retired",
    "endpoints.revision.settle": "live",
    "endpoints.revision.fail": "failed",
    "releases.approve": "granted",
    "releases.authorize": "authorized",
    "releases.go_live": "live",
    "releases.decline": "declined",
    "releases.roll_back": "rolled_back",
    "releases.break_glass": "waived",
    "analysis.fail": "failed",
    "analysis.limit": "failed",
    "rollouts.abort": "rolled_back",
    "gates.waive": "waived",
    "environments.freeze": "frozen",
}
# Steps on the way: whoever wants to know them opens the page of the thing.
QUIET = (
    "accounts.",
    "notifications.follow",
    "notifications.channel.test",
    "registry.upload",
    "registry.version.learn",
    "analysis.begin",
    "analysis.step",
    "gates.checklist.",
    "endpoints.revision.start",
    "endpoints.revision.warm",
    "endpoints.revision.verify",
    "endpoints.revision.shift",
    "endpoints.revision.drain",
)
WORKERS = {
    "builds": "The builder",
    "endpoints": "The endpoint worker",
    "mirror": "The MLflow mirror",
    "tidy": "The tidier",
    "ledger": "The ledger keeper",
    "releases": "The release worker",
    "analysis": "The judge",
    "rollouts": "The rollout worker",
    "gates": "The gate runner",
}


@dataclass(frozen=True)
class Told:
    """One entry, ready to be read.

    Attributes:
        at: When.
        actor_name: Who.
        by_person: Whether a person did it; acts by people are bold.
        words: What, as the rest of the sentence.
        reason: Why, in the actor's words.
        state: Whose tone the mark takes; "" for none.
    """

    at: datetime
    actor_name: str
    by_person: bool
    words: str
    reason: str
    state: str


def tell(
    *, at: datetime, actor_kind: str, actor_name: str, verb: str, subject: str, reason: str
) -> Told:
    """Return an entry as a sentence; a verb without one is spelt out of its own name."""
    sentence = SENTENCES.get(verb) or f"{_spelt(verb)} {{subject}}"
    words = sentence.replace("{subject}", subject).strip()
    return Told(
        at=at,
        actor_name=_named(actor_name) if actor_kind == "worker" else actor_name,
        by_person=actor_kind == "person",
        words=words,
        reason=reason,
        state=TONES.get(verb, ""),
    )


def _named(actor_name: str) -> str:
    name = actor_name.removeprefix("worker:")
    return WORKERS.get(name, name)


def _spelt(verb: str) -> str:
    """Spell "endpoints.revision.settle" as "revision settle:"."""
    return " ".join(verb.split(".")[1:]).replace("_", " ") + ":"
