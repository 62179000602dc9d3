"""GDSF with lazy promotion as one would write it down: numbers for priorities, and a search."""

from __future__ import annotations

SETS = 64  # of ghosts, as long as fewer than 205 entries are held


class ReferenceGdsf:
    """Items of equal size, so many at most; `priority` and `order` decide who is evicted.

    Each item weighs what `weight` says.
    """

    def __init__(self, capacity, weight=lambda item: 1):
        self.weight = weight
        self.capacity = capacity
        self.level = self.order = self.evicted = self.most_young = 0
        self.held = {}
        self.young = []  # the newest items, which are not evicted
        self.ghosts = {}  # by set: (last byte of the key, worth), the newest first, two at most

    def ask(self, item):
        """Return whether an item is there, and count that as a hit."""
        if item not in self.held:
            return False
        self.held[item]["hits"] = min(3, self.held[item]["hits"] + 1)
        return True

    def delete(self, item):
        """Take an item out."""
        self.young = [other for other in self.young if other != item]
        return self.held.pop(item)

    def put(self, item, key):
        """Put an item in, or in place of itself."""
        old = self.delete(item) if item in self.held else None
        while len(self.held) >= self.capacity:
            self.evict()
        if old is not None and old["worth"] > 1:
            self.place(item, key, old["worth"], old["hits"])
            return
        ghosts = self.ghosts.get(hash(key) % SETS, [])
        worth = 1
        for ghost in ghosts:
            if ghost[0] == key[-1]:
                worth = min(ghost[1] + 6, 32)
                ghosts.remove(ghost)
                break
        self.place(item, key, worth, 0 if old is None else old["hits"])

    def place(self, item, key, worth, hits):
        worth = min(worth, 128)
        self.order += 1
        priority = self.level + min(worth * self.weight(item), 128)
        self.held[item] = {
            "priority": priority, "order": self.order, "worth": worth, "hits": hits, "key": key,
        }  # fmt: skip
        if worth == self.weight(item) == 1:
            self.young.append(item)
            self.grow_up()

    def grow_up(self):
        del self.young[: max(0, len(self.young) - self.most_young)]

    def evict(self):
        if self.evicted % 256 == 0:
            self.most_young = min(12, len(self.held) // 8)
            self.grow_up()
        while True:
            old = {item: entry for item, entry in self.held.items() if item not in self.young}
            item, first = min(old.items(), key=lambda pair: (pair[1]["priority"], pair[1]["order"]))
            # The young go along with the hand, behind all that have their place there.
            self.level = first["priority"] - 1
            for young in self.young:
                self.order += 1
                self.held[young] |= {"priority": self.level + 1, "order": self.order}
            del self.held[item]
            if not first["hits"]:
                break
            self.place(item, first["key"], first["worth"] + 5 * first["hits"], 0)
        self.evicted += 1
        number = hash(first["key"]) % SETS
        ghosts = [(first["key"][-1], first["worth"]), *self.ghosts.get(number, [])]
        self.ghosts[number] = ghosts[:2]
