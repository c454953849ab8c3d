"""Campaigns and their chargers as the hub's state keeps them."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from cloud_stub.firmware.campaign import Course, Plan, State, plan_from
from cloud_stub.firmware.member import Member, Standing
from cloud_stub.state import database
from cloud_stub.state.database import Row

_COLUMNS = "serial, position, stage, standing, since, reason, detail, computer, mainboard, called"
_INSERT = f"INSERT OR REPLACE INTO campaign_members (number, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_SELECT = f"SELECT {_COLUMNS} FROM campaign_members WHERE number = ?"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Kept:
    """A campaign as it is kept. `number` counts all campaigns there ever were."""

    number: int
    campaign_id: str
    plan: Plan
    course: Course
    created_s: float


class CampaignTable:
    """Each operation is whole and lasting when it returns. All raise HubError when the state fails."""

    def __init__(self, state: database.State) -> None:
        self._state = state

    def add(self, campaign_id: str, plan: Plan, course: Course, created_s: float, members: Iterable[Member]) -> Kept:
        """Keep a new campaign, whose id nobody has, with its chargers."""
        with self._state.change() as changing:
            number = changing.execute(
                "INSERT INTO campaigns (campaign_id, plan, course, created_at) VALUES (?, ?, ?, ?)",
                (campaign_id, json.dumps(plan.to_json()), json.dumps(asdict(course)), created_s),
            ).lastrowid
            assert number is not None  # noqa: S101 - it was inserted
            _put(changing, number, members)
        return Kept(number, campaign_id, plan, course, created_s)

    def save(self, number: int, course: Course | None = None, members: Iterable[Member] = ()) -> None:
        """Keep what has changed."""
        with self._state.change() as changing:
            if course is not None:
                changing.execute(
                    "UPDATE campaigns SET course = ? WHERE number = ?", (json.dumps(asdict(course)), number)
                )
            _put(changing, number, members)

    def remove(self, number: int) -> None:
        """Forget a campaign and its chargers."""
        with self._state.change() as changing:
            changing.execute("DELETE FROM campaigns WHERE number = ?", (number,))

    def all(self) -> list[Kept]:
        """Every campaign, the oldest first."""
        rows = self._state.rows("SELECT number, campaign_id, plan, course, created_at FROM campaigns ORDER BY number")
        return [
            Kept(number, campaign_id, plan_from(json.loads(plan)), _course(json.loads(course)), created_s)
            for number, campaign_id, plan, course, created_s in rows
        ]

    def members(self, number: int) -> list[Member]:
        """Every charger of a campaign, in the order of turns."""
        return [_member(row) for row in self._state.rows(f"{_SELECT} ORDER BY position", (number,))]

    def page(self, number: int, *, after: str, standing: Standing | None, limit: int) -> list[Member]:
        """Up to `limit` chargers, by serial, behind the serial `after`; all, or those that stand so."""
        only = "" if standing is None else "AND standing = ?"
        given = () if standing is None else (standing.value,)
        sql = f"{_SELECT} AND serial > ? {only} ORDER BY serial LIMIT ?"
        return [_member(row) for row in self._state.rows(sql, (number, after, *given, limit))]

    def counts(self, number: int) -> dict[tuple[int, Standing], int]:
        """How many chargers of each stage stand how."""
        sql = "SELECT stage, standing, count(*) FROM campaign_members WHERE number = ? GROUP BY stage, standing"
        return {(stage, Standing(standing)): count for stage, standing, count in self._state.rows(sql, (number,))}


def _put(changing: sqlite3.Connection, number: int, members: Iterable[Member]) -> None:
    changing.executemany(_INSERT, ((number, *_row(member)) for member in members))


def _row(member: Member) -> Row:
    return (
        member.serial,
        member.position,
        member.stage,
        member.standing.value,
        member.since_s,
        member.reason,
        member.detail,
        member.computer,
        member.mainboard,
        member.called,
    )


def _member(row: Row) -> Member:
    serial, position, stage, standing, since_s, reason, detail, computer, mainboard, called = row
    return Member(
        serial, position, stage, Standing(standing), since_s, reason, detail, computer, mainboard, bool(called)
    )


def _course(data: dict[str, object]) -> Course:
    return Course(**data | {"state": State(data["state"])})  # type: ignore[arg-type]
