"""Words the invented company is made of: people, customers, work, from many places."""

from __future__ import annotations

GIVEN = (
    "Amina", "Björn", "Chiara", "Dmytro", "Élodie", "Farid", "Giulia", "Hiroshi", "Ines", "Jürgen", "Kwame", "Léa",
    "Mónica", "Nguyễn", "Olena", "Priya", "Quentin", "Rania", "Søren", "Tomáš", "Uchenna", "Vesna", "Wei", "Xiomara",
    "Yuki", "Zoltán", "Aoife", "Bogdan", "Catarina", "Deepak", "Eva", "Fatima", "Gustav", "Hanna", "Ivan", "Jana",
    "Kofi", "Lucía", "Mehmet", "Noor", "Oscar", "Paola", "Rafael", "Sanne", "Tariq", "Ulrike", "Viktor", "Wanjiru",
    "Андрій", "美咲", "서연", "محمد",
)  # fmt: skip
FAMILY = (
    "Abdi", "Åkesson", "Bianchi", "Chen", "Dvořák", "Eriksen", "Fernández", "García-Núñez", "Haddad", "Ito", "Jansen",
    "Kovač", "Łukasiewicz", "Mwangi", "Nowak", "O'Connor", "Petrović", "Quispe", "Rossi", "Sørensen", "Tanaka",
    "Üstün", "van den Berg", "Wójcik", "Xu", "Yıldız", "Zimmermann", "Adeyemi", "Bauer", "Costa", "Dubois", "Eze",
    "Fischer", "Gupta", "Horváth", "Ivanova", "Jovanović", "Kim", "Larsen", "Müller", "Nair", "Okafor", "Pham",
    "Rahman", "Silva", "Tremblay", "Шевченко", "鈴木", "김", "الفاسي",
)  # fmt: skip
ZONES = (
    "Europe/Belgrade", "America/New_York", "Europe/London", "Asia/Kolkata", "Asia/Tokyo", "America/Sao_Paulo",
    "Africa/Nairobi", "Australia/Sydney", "America/Los_Angeles", "Europe/Kyiv", "Pacific/Auckland", "UTC",
)  # fmt: skip
CLIENT_HEADS = (
    "Alpine", "Baltic", "Café", "Delta", "Estrella", "Fjord", "Grüner", "Harbour", "Île-de-France", "Jade", "Kivu",
    "Lumen", "Maple", "Nordlicht", "Orchard", "Pampa", "Quartz", "Río", "Sakura", "Tatra", "Umbra", "Východ", "Willow",
    "Xenia", "Yangtze", "Żagle",
)  # fmt: skip
CLIENT_TAILS = (
    "Logistics", "Foods", "Health", "Energy", "Robotics", "Hotels", "Studios", "Bank", "Clinics", "Rail", "Textiles",
    "Gardens", "Labs", "Water", "Travel", "Schools",
)  # fmt: skip
CLIENT_FORMS = ("GmbH", "Ltd", "S.A.", "AB", "Inc.", "d.o.o.", "B.V.", "株式会社", "Sp. z o.o.", "& Söhne")
PROJECT_HEADS = (
    "Website relaunch", "Mobile app", "Site inspection", "ERP migration", "Annual audit", "Brand refresh",
    "Data warehouse", "Training programme", "Helpdesk", "Office move", "Rénovation", "Wartung", "Onboarding portal",
    "Security review", "Warehouse layout", "Energy audit", "Customer survey", "Field service", "Payroll rollout",
    "翻訳 (translation)",
)  # fmt: skip
PROJECT_TAILS = (
    "", " II", " 2025", " 2026", " – north", " – south", " / phase 1", " / phase 2", " (retainer)", " EMEA",
)  # fmt: skip
TASKS = (
    "Analysis", "Design", "Implementation", "Testing", "Review", "Documentation", "Meetings", "Travel", "Support",
    "Déploiement", "Abnahme", "Planning",
)  # fmt: skip
TAGS = (
    "on-site", "remote", "urgent", "overtime", "billable-check", "workshop", "téléphone", "Garantie", "R&D",
    "会議", "internal", "legacy",
)  # fmt: skip
WORK = (
    "Weekly call with the customer", "Fixed the import of invoices", "Prepared the workshop", "Site visit, measured hall 3",
    "Code review", "Wrote the test plan", "Updated the project plan", "Réunion de suivi", "Besprechung mit dem Kunden",
    "Kundensupport am Telefon", "Documentación del proceso", "Отчёт за неделю", "要件の確認", "회의 준비", "تقرير يومي",
    "Réglage des capteurs", "Deployment to staging", "Checked the delivery, 2 boxes missing", "Interviewed the night shift",
    "Answered tickets", "Replaced the pump in building B", "Trained two new colleagues", "Drafted the offer \"Phase 2\"",
    "Cleaned up the backlog", "Budget & forecast", "Travel to site", "Photos + report 📷", "Přehled nákladů",
    "Sprint planning", "Retrospective", "Database backup restored", "Label printer: driver update", "Inventory count",
    "Quality check, batch 17/4", "Safety instruction", "Zwischenabnahme",
)  # fmt: skip
COLORS = ("#03A9F4", "#8BC34A", "#F44336", "#FF9800", "#9C27B0", "#009688", "#795548", "#3F51B5", "#E91E63", "#607D8B")
GROUPS = ("Field team", "Büro", "Contractors")
COST_CENTRES = ("North", "South", "Head office", "Außendienst")
